package config

import (
	"errors"
	"strconv"
	"strings"
)

// Amount is a number of workers, or a percentage of those that are wanted.
type Amount struct {
	Value   int
	Percent bool
}

// String is how the file writes it.
func (a Amount) String() string {
	if a.Percent {
		return strconv.Itoa(a.Value) + "%"
	}
	return strconv.Itoa(a.Value)
}

func (a Amount) of(n int, up bool) int {
	if !a.Percent {
		return a.Value
	}
	part := a.Value * n
	if up {
		part += 99
	}
	return part / 100
}

var errNegative = errors.New("less than 0")

func parseAmount(v any) (Amount, error) {
	switch v := v.(type) {
	case int64:
		return Amount{Value: int(v)}, inRange(v, 0, maxWorkers)
	case string:
		digits, ok := strings.CutSuffix(v, "%")
		n, err := strconv.ParseInt(digits, 10, 32)
		if !ok || err != nil {
			return Amount{}, errKind
		}
		return Amount{Value: int(n), Percent: true}, inRange(n, 0, 10_000)
	}
	return Amount{}, errKind
}
