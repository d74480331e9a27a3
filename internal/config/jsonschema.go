package config

import "maps"

// A form is how JSON Schema says what the value of a key may be.
type form map[string]any

// as gives a key a narrower form than its kind has.
func (s schema) as(f form) schema {
	s.form = f
	return s
}

// Forms that several keys share. What is inside of a string is for the parser
// alone to judge, but for what an editor can use: words to choose from, the shape
// of an octal number or of a percentage.
var (
	formText     = form{"type": "string", "minLength": 1}
	formAny      = form{"type": "string"}
	formDuration = form{"type": []any{"string", "number"}, "minimum": 0}
	formSize     = form{"type": []any{"string", "integer"}, "minimum": 0}
	formCommand  = form{"type": "array", "items": formAny, "minItems": 1}
)

func formWords(words ...string) form {
	all := make([]any, len(words))
	for i, w := range words {
		all[i] = w
	}
	return form{"enum": all}
}

func formRange(low, high int64) form {
	return form{"type": "integer", "minimum": low, "maximum": high}
}

// formOf is that of a key which has none of its own.
func (s schema) formOf() form {
	switch {
	case s.form != nil:
		return s.form
	case s.kind == Number:
		return form{"type": []any{"integer", "string"}}
	case s.kind == Boolean:
		return form{"type": "boolean"}
	case s.kind == List:
		return form{"type": "array", "items": formAny}
	case s.kind == Pairs:
		return form{"type": "object", "additionalProperties": formAny}
	}
	return formAny
}

// JSONSchema says what a file may contain, as JSON Schema (draft 2020-12) in the
// types of package encoding/json. It is made from what the parser itself goes
// by, so it has each key that the parser knows and no other. Where the two
// disagree about a value, the parser is right: it looks into strings, and at one
// key beside another.
func JSONSchema() map[string]any {
	root := scratch().jsonSchema()
	root["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	root["title"] = "a pool of fugue"
	return root
}

func (s schema) jsonSchema() map[string]any {
	switch {
	case s.set != nil:
		return maps.Clone(s.formOf()) // the caller may add to it
	case s.each != nil:
		// Any name will do: those that are refused are no keys at all.
		one, err := s.each("Name")
		if err != nil {
			return map[string]any{"type": "object"}
		}
		return map[string]any{"type": "object", "additionalProperties": one.jsonSchema()}
	}
	keys := map[string]any{}
	for name, sub := range s.keys {
		keys[name] = sub.jsonSchema()
	}
	return map[string]any{"type": "object", "properties": keys, "additionalProperties": false}
}
