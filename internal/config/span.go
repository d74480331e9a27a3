package config

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// scale is one unit and what it multiplies its number with.
type scale struct {
	names  string // separated by spaces
	factor float64
}

// The units of systemd.time(7), in nanoseconds.
var timeUnits = []scale{
	{"ns nsec", 1},
	{"us usec µs μs", 1e3},
	{"ms msec", 1e6},
	{"s sec second seconds", 1e9},
	{"m min minute minutes", 60e9},
	{"h hr hour hours", 3600e9},
	{"d day days", 86400e9},
	{"w week weeks", 7 * 86400e9},
	{"M month months", 30.44 * 86400e9},
	{"y year years", 365.25 * 86400e9},
}

// The suffixes of sizes in systemd.exec(5) and systemd.socket(5): powers of 1024.
var sizeUnits = []scale{
	{"B", 1}, {"K", 1 << 10}, {"M", 1 << 20}, {"G", 1 << 30}, {"T", 1 << 40}, {"P", 1 << 50}, {"E", 1 << 60},
}

// ParseDuration reads a time span as systemd.time(7) writes it: "1min 30s",
// "500ms", "1.5h"; a number without a unit is seconds. "infinity" is Infinity.
func ParseDuration(s string) (time.Duration, error) {
	if strings.TrimSpace(s) == "infinity" {
		return Infinity, nil
	}
	ns, err := sum(s, timeUnits, 1e9)
	if err != nil {
		return 0, err
	}
	// float64(MaxInt64) rounds up to 2^63, which would wrap.
	if ns >= math.MaxInt64 {
		return 0, errors.New("more than 292 years; for no end say infinity")
	}
	return time.Duration(math.Round(ns)), nil
}

// ParseSize reads a number of bytes as systemd writes it: "64M", "1.5G",
// "1G 500M"; a number without a suffix is bytes. "infinity" is Unlimited.
func ParseSize(s string) (uint64, error) {
	s = strings.TrimSpace(s)
	if s == "infinity" {
		return Unlimited, nil
	}
	// Beyond 2^53 a float64 would round; plain numbers are exact.
	if n, err := strconv.ParseUint(s, 10, 64); err == nil {
		return n, nil
	}
	n, err := sum(s, sizeUnits, 1)
	if err != nil {
		return 0, err
	}
	if n >= math.MaxUint64 {
		return 0, errors.New("too large")
	}
	return uint64(n), nil
}

// sum adds up numbers, each followed by a unit: "1min 30s".
func sum(s string, units []scale, plain float64) (float64, error) {
	rest := strings.TrimSpace(s)
	if rest == "" {
		return 0, errors.New("nothing given")
	}
	total := 0.0
	for rest != "" {
		i := 0
		for i < len(rest) && (rest[i] >= '0' && rest[i] <= '9' || rest[i] == '.') {
			i++
		}
		if i == 0 {
			return 0, fmt.Errorf("no number before %q", rest)
		}
		n, err := strconv.ParseFloat(rest[:i], 64)
		if err != nil {
			return 0, fmt.Errorf("%q is not a number", rest[:i])
		}
		rest = strings.TrimLeft(rest[i:], " \t")
		i = strings.IndexAny(rest, " \t0123456789.")
		if i < 0 {
			i = len(rest)
		}
		factor, err := unit(rest[:i], units, plain)
		if err != nil {
			return 0, err
		}
		total += n * factor
		rest = strings.TrimLeft(rest[i:], " \t")
	}
	return total, nil
}

func unit(name string, units []scale, plain float64) (float64, error) {
	if name == "" {
		return plain, nil
	}
	var known []string
	for _, u := range units {
		for _, n := range strings.Fields(u.names) {
			if n == name {
				return u.factor, nil
			}
		}
		known = append(known, strings.Fields(u.names)[0])
	}
	return 0, fmt.Errorf("unknown unit %q, known are %s", name, strings.Join(known, " "))
}
