package launch

// The encoding is a plain sequence of the fields of Plan: integers as eight
// bytes, little endian, strings and lists led by their length. Both sides are
// the same image (/proc/self/exe), so there is no version to tell.

// Encode gives the plan as the shim reads it.
func (p *Plan) Encode() []byte {
	var e encoder
	e.string(p.Path)
	e.strings(p.Args)
	e.strings(p.Env)
	e.string(p.Dir)
	e.bool(p.ListenPID)
	e.bool(p.WatchdogPID)
	e.int(p.Umask)
	e.int(len(p.Rlimits))
	for _, l := range p.Rlimits {
		e.int(l.Resource)
		e.uint(l.Cur)
		e.uint(l.Max)
	}
	e.optional(p.Nice)
	e.optional(p.OOMScoreAdj)
	e.bool(p.NoNewPrivs)
	e.bool(p.Held)
	e.int(p.DeathSignal)
	e.int(p.UID)
	e.int(p.GID)
	e.bool(p.Groups != nil)
	e.int(len(p.Groups))
	for _, g := range p.Groups {
		e.int(g)
	}
	e.bool(p.Capabilities != nil)
	if c := p.Capabilities; c != nil {
		e.capabilities(c.Drop)
		e.uint(c.Permitted)
		e.uint(c.Inheritable)
		e.capabilities(c.Ambient)
	}
	e.bool(p.Journal != nil)
	if p.Journal != nil {
		e.string(p.Journal.Path)
		e.string(p.Journal.Identifier)
		e.string(p.Journal.Unit)
		e.int(p.Journal.Only)
	}
	e.string(p.Stdout)
	e.string(p.Stderr)
	return e
}

// decode reads what Encode wrote. It reports whether all of it made sense.
func decode(b []byte) (*Plan, bool) {
	d := decoder{rest: b}
	p := &Plan{
		Path:        d.string(),
		Args:        d.strings(),
		Env:         d.strings(),
		Dir:         d.string(),
		ListenPID:   d.bool(),
		WatchdogPID: d.bool(),
		Umask:       d.int(),
	}
	for n := d.count(); n > 0; n-- {
		p.Rlimits = append(p.Rlimits, Rlimit{d.int(), d.uint(), d.uint()})
	}
	p.Nice = d.optional()
	p.OOMScoreAdj = d.optional()
	p.NoNewPrivs = d.bool()
	p.Held = d.bool()
	p.DeathSignal = d.int()
	p.UID = d.int()
	p.GID = d.int()
	if d.bool() {
		p.Groups = []int{}
	}
	for n := d.count(); n > 0; n-- {
		p.Groups = append(p.Groups, d.int())
	}
	if d.bool() {
		p.Capabilities = &Capabilities{Drop: d.capabilities(), Permitted: d.uint(), Inheritable: d.uint(), Ambient: d.capabilities()}
	}
	if d.bool() {
		p.Journal = &Journal{d.string(), d.string(), d.string(), d.int()}
	}
	p.Stdout, p.Stderr = d.string(), d.string()
	return p, !d.bad && len(d.rest) == 0
}

type encoder []byte

func (e *encoder) uint(v uint64) {
	for range 8 {
		*e = append(*e, byte(v))
		v >>= 8
	}
}

func (e *encoder) int(v int) { e.uint(uint64(int64(v))) }

func (e *encoder) bool(v bool) {
	if v {
		e.uint(1)
	} else {
		e.uint(0)
	}
}

func (e *encoder) string(s string) {
	e.int(len(s))
	*e = append(*e, s...)
}

func (e *encoder) strings(list []string) {
	e.int(len(list))
	for _, s := range list {
		e.string(s)
	}
}

func (e *encoder) capabilities(list []Capability) {
	e.int(len(list))
	for _, c := range list {
		e.int(c.Number)
		e.string(c.Name)
	}
}

func (e *encoder) optional(v *int) {
	e.bool(v != nil)
	if v != nil {
		e.int(*v)
	}
}

type decoder struct {
	rest []byte
	bad  bool
}

func (d *decoder) uint() uint64 {
	if len(d.rest) < 8 {
		d.bad, d.rest = true, nil
		return 0
	}
	var v uint64
	for i := 7; i >= 0; i-- {
		v = v<<8 | uint64(d.rest[i])
	}
	d.rest = d.rest[8:]
	return v
}

func (d *decoder) int() int { return int(int64(d.uint())) }

func (d *decoder) bool() bool {
	v := d.uint()
	d.bad = d.bad || v > 1
	return v == 1
}

// count is a length that the rest can hold: every item takes a byte at least.
func (d *decoder) count() int {
	n := d.uint()
	if n > uint64(len(d.rest)) {
		d.bad, d.rest = true, nil
		return 0
	}
	return int(n)
}

func (d *decoder) string() string {
	n := d.count()
	s := string(d.rest[:n])
	d.rest = d.rest[n:]
	return s
}

func (d *decoder) strings() []string {
	n := d.count()
	list := make([]string, 0, min(n, len(d.rest)/8))
	for ; n > 0 && !d.bad; n-- {
		list = append(list, d.string())
	}
	return list
}

func (d *decoder) capabilities() []Capability {
	var list []Capability
	for n := d.count(); n > 0 && !d.bad; n-- {
		list = append(list, Capability{d.int(), d.string()})
	}
	return list
}

func (d *decoder) optional() *int {
	if !d.bool() {
		return nil
	}
	v := d.int()
	return &v
}
