package config

import (
	"errors"
	"strings"
)

// cgroupKeys are the keys of [limits] that are set in a worker's own cgroup.
// They are called as systemd calls the same, and cgroup is what they need.
func (d *decoder) cgroupKeys(l *Limits) map[string]schema {
	return map[string]schema{
		"cgroup":      d.optional(&l.Cgroup),
		"memory_max":  d.cgroupSize(&l.MemoryMax),
		"memory_high": d.cgroupSize(&l.MemoryHigh),
		"tasks_max":   d.tasks(&l.TasksMax),
		"cpu_weight":  d.integer(&l.CPUWeight, 1, 10000),
	}
}

// errNothingLeft: a worker could not live with it.
var errNothingLeft = errors.New(`it has to be more than 0; for no limit say "infinity"`)

func (d *decoder) cgroupSize(dst *uint64) schema {
	return d.leaf(Number, `a size such as "512M", or "infinity"`, func(v any) error {
		return readLimit(dst, v, rlimit{unit: sizes})
	}).as(formSize)
}

func (d *decoder) tasks(dst *uint64) schema {
	return d.leaf(Number, `a number of tasks, or "infinity"`, func(v any) error {
		return readLimit(dst, v, rlimit{unit: counts})
	}).as(formSize)
}

func readLimit(dst *uint64, v any, r rlimit) error {
	n, err := r.one(v)
	if err == nil && n == 0 {
		err = errNothingLeft
	}
	*dst = n
	return err
}

// OfCgroup are the keys, of those that were said, that a worker's own cgroup is
// needed for.
func (c *Config) OfCgroup() (keys []string) {
	l := c.Limits
	for _, k := range []struct {
		name string
		said bool
	}{
		{"memory_max", l.MemoryMax > 0}, {"memory_high", l.MemoryHigh > 0},
		{"tasks_max", l.TasksMax > 0}, {"cpu_weight", l.CPUWeight > 0},
		{"cgroup", l.Cgroup != nil && *l.Cgroup},
	} {
		if k.said {
			keys = append(keys, "limits."+k.name)
		}
	}
	return keys
}

// checkCgroup finds limits that nothing could hold a worker to.
func (d *decoder) checkCgroup() {
	l := d.cfg.Limits
	if l.Cgroup == nil || *l.Cgroup {
		return
	}
	if keys := d.cfg.OfCgroup(); len(keys) > 0 {
		d.errorf(d.cfg.Pos("limits.cgroup"), "limits.cgroup: false leaves nothing that %s could be set in", strings.Join(keys, ", "))
	}
}

// Controller is the controller of cgroups(7) that a key of [limits] needs;
// empty: none.
func Controller(key string) string {
	switch strings.TrimPrefix(key, "limits.") {
	case "memory_max", "memory_high":
		return "memory"
	case "tasks_max":
		return "pids"
	case "cpu_weight":
		return "cpu"
	}
	return ""
}
