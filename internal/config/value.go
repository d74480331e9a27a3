package config

import (
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

const (
	maxWorkers = 10_000 // far beyond use; a number pasted twice is caught
	maxCount   = math.MaxInt32
)

// errKind says that a value is not of the kind the key takes; the message then
// needs no reason.
var errKind = errors.New("wrong kind")

// leaf reads one value. what ends the sentence "KEY must be …".
func (d *decoder) leaf(kind Kind, what string, read func(v any) error) schema {
	return schema{kind: kind, set: func(name string, n *node) {
		if n.table {
			d.errorf(n.pos, "%s must be %s, not a table", name, what)
			return
		}
		d.refuse(n.pos, name, what, n.value, read(n.value))
	}}
}

func (d *decoder) refuse(at Pos, name, what string, value any, err error) {
	switch {
	case err == nil:
	case errors.Is(err, errKind):
		d.errorf(at, "%s must be %s, not %s", name, what, show(value))
	default:
		d.errorf(at, "%s must be %s, not %s: %w", name, what, show(value), err)
	}
}

// show names a value in a message: as written if it is short, else its kind.
func show(v any) string {
	switch v := v.(type) {
	case string:
		if len(v) > 60 {
			return "a long string"
		}
		return strconv.Quote(v)
	case int64, float64, bool:
		return fmt.Sprint(v)
	case []any:
		return "an array"
	case map[string]any:
		return "a table"
	}
	return "a date or time"
}

func (d *decoder) text(dst *string) schema {
	return d.leaf(Text, "a string", func(v any) error { return readText(dst, v) }).as(formText)
}

func readText(dst *string, v any) error {
	s, ok := v.(string)
	switch {
	case !ok:
		return errKind
	case s == "":
		return errors.New("leave the key out instead")
	case strings.ContainsRune(s, 0):
		return errNUL
	}
	*dst = s
	return nil
}

// errNUL: no path, argument or variable can hold one; the kernel would cut it.
var errNUL = errors.New("it contains a NUL byte")

// path is a text made absolute: from the file that says it, or, in a flag, from
// where fugue was started.
func (d *decoder) path(dst *string) schema {
	s := d.text(dst)
	return schema{kind: Text, set: func(name string, n *node) {
		s.set(name, n)
		if *dst != "" {
			*dst = d.absolute(*dst, n.pos)
		}
	}, form: formText}
}

// paths is an array of them.
func (d *decoder) paths(dst *[]string) schema {
	return d.strings("an array of paths", func(name, s string, e *node) {
		if s == "" {
			d.errorf(e.pos, "%s is empty", name)
			return
		}
		*dst = append(*dst, filepath.Clean(d.absolute(s, e.pos)))
	})
}

func (d *decoder) absolute(path string, at Pos) string {
	if filepath.IsAbs(path) {
		return path
	}
	if at.Line == 0 {
		return filepath.Join(d.workDir, path)
	}
	return filepath.Join(filepath.Dir(at.Path), path)
}

func (d *decoder) boolean(dst *bool) schema {
	return d.leaf(Boolean, "true or false", func(v any) error {
		b, ok := v.(bool)
		if !ok {
			return errKind
		}
		*dst = b
		return nil
	})
}

func (d *decoder) optional(dst **bool) schema {
	var b bool
	s := d.boolean(&b)
	return schema{kind: Boolean, set: func(name string, n *node) {
		s.set(name, n)
		*dst = &b
	}}
}

func inRange(n, low, high int64) error {
	switch {
	case n < 0 && low == 0:
		return errNegative
	case n < low:
		return fmt.Errorf("less than %d", low)
	case n > high:
		return fmt.Errorf("more than %d", high)
	}
	return nil
}

func (d *decoder) integer(dst *int, low, high int64) schema {
	return d.leaf(Number, "a whole number", func(v any) error {
		n, ok := v.(int64)
		if !ok {
			return errKind
		}
		*dst = int(n)
		return inRange(n, low, high)
	}).as(formRange(low, high))
}

func (d *decoder) optionalInteger(dst **int, low, high int64) schema {
	var i int
	s := d.integer(&i, low, high)
	return schema{kind: Number, set: func(name string, n *node) {
		s.set(name, n)
		*dst = &i
	}, form: s.form}
}

func (d *decoder) amount(dst *Amount) schema {
	return d.leaf(Number, `a number of workers or a percentage such as "25%"`, func(v any) error {
		a, err := parseAmount(v)
		if err == nil {
			*dst = a
		}
		return err
	}).as(form{"anyOf": []any{formRange(0, maxWorkers), form{"type": "string", "pattern": "^[0-9]+%$"}}})
}

func (d *decoder) oneOf(dst *string, words ...string) schema {
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = strconv.Quote(w)
	}
	last := len(quoted) - 1
	what := strings.Join(quoted[:last], ", ") + " or " + quoted[last]
	return d.leaf(Text, what, func(v any) error {
		s, ok := v.(string)
		for _, w := range words {
			if ok && s == w {
				*dst = s
				return nil
			}
		}
		return errKind
	}).as(formWords(words...))
}

// What a duration may be, besides not negative.
type bounds int

const (
	finite   bounds = 1 << iota // "infinity" makes no sense
	positive                    // 0 neither
)

func (d *decoder) duration(dst *time.Duration, b bounds) schema {
	return d.leaf(Number, `a time such as "90s" or "1min 30s"`, func(v any) error {
		t, err := readDuration(v)
		switch {
		case err != nil:
			return err
		case b&finite != 0 && t == Infinity:
			return errors.New("it has to end")
		case b == positive && t == 0:
			return errors.New(`for no end say "infinity"`)
		case b&positive != 0 && t == 0:
			return errors.New("it has to be more than 0")
		}
		*dst = t
		return nil
	}).as(formDuration)
}

func readDuration(v any) (time.Duration, error) {
	switch v := v.(type) {
	case string:
		return ParseDuration(v)
	case int64, float64:
		s := fmt.Sprint(v)
		if f, ok := v.(float64); ok {
			s = strconv.FormatFloat(f, 'f', -1, 64) // never 1e+06, NaN and Inf are refused below
		}
		if strings.HasPrefix(s, "-") {
			return 0, errNegative
		}
		return ParseDuration(s)
	}
	return 0, errKind
}

func (d *decoder) size(dst *uint64) schema {
	return d.leaf(Number, `a size such as "64K"`, func(v any) error {
		n, err := readSize(v)
		if err == nil && (n == 0 || n > maxCount) {
			err = errors.New("it has to be from 1 to 2147483647 bytes") // an int in setsockopt(2)
		}
		*dst = n
		return err
	}).as(formSize)
}

func readSize(v any) (uint64, error) {
	switch v := v.(type) {
	case string:
		return ParseSize(v)
	case int64:
		if v < 0 {
			return 0, errNegative
		}
		return uint64(v), nil
	}
	return 0, errKind
}

// mode reads permission bits as chmod(1) writes them. A number is refused: 660
// without quotes is decimal in TOML, and 0660 no number at all.
func (d *decoder) mode(dst *uint32, low uint64) schema {
	return d.leaf(Text, `an octal string such as "0660"`, func(v any) error {
		s, ok := v.(string)
		n, err := strconv.ParseUint(s, 8, 32)
		switch {
		case !ok || err != nil:
			return errKind
		case n < low || n > 0o777:
			return fmt.Errorf("it has to be from %04o to 0777", low)
		}
		*dst = uint32(n)
		return nil
	}).as(form{"type": "string", "pattern": "^[0-7]+$"})
}
