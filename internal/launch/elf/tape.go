package elf

import (
	"encoding/binary"
	"strconv"
	"syscall"

	"fugue/internal/launch"
)

// Constants that package syscall has for one architecture and not another, or
// not at all; they are the same on both.
const (
	closeRange        = 436
	closeRangeCloexec = 4
	allDescriptors    = 1<<32 - 1
	atFDCWD           = ^uint64(99) // -100
	fSetfd            = 2
	fdCloexec         = 1
	msgNosignal       = 0x4000
	prSetName         = 15
	prSetPdeathsig    = 1
	prSetNoNewPrivs   = 38

	statSize = 144        // the larger of the two
	devAt    = address(0) // in both
	inoAt    = address(8)

	longestNumber = 20 // digits of 64 bits
	longestPath   = 107
)

// Make gives the program that does what the plan says, where the numbers are
// those of the process's descriptors that hold the image and take the report.
// From image upwards all are kept from the worker, as launch.Environ says.
// It fails for what cannot be written down so, such as a zero in a path: the
// other shim then says it in its own words.
//
// The order is that of package launch: first what needs nobody's rights, then
// what may need root's, the identity, and what must happen with the worker's
// own rights. The signals have been seen to before the first step.
func (m *Machine) Make(p *launch.Plan, image, report int) (Image, error) {
	b := m.build(report)
	// The kernel named the process by its file: a number.
	b.try(b.prctl, prSetName, uint64(b.string("fugue", 0)))
	b.try(closeRange, uint64(image), allDescriptors, closeRangeCloexec)
	for _, fd := range []int{image, report} { // before Linux 5.11
		b.try(b.fcntl, uint64(fd), fSetfd, fdCloexec)
	}
	env := b.environ(p)
	if p.OOMScoreAdj != nil {
		b.overwrite("/proc/self/oom_score_adj", strconv.Itoa(*p.OOMScoreAdj), "set oom_score_adj "+strconv.Itoa(*p.OOMScoreAdj))
	}
	if p.Nice != nil {
		b.call("set nice "+strconv.Itoa(*p.Nice), b.setpriority, syscall.PRIO_PROCESS, 0, uint64(*p.Nice))
	}
	if p.Umask >= 0 {
		b.call("set umask", b.umask, uint64(p.Umask))
	}
	for _, l := range p.Rlimits {
		b.call("set rlimit "+launch.RlimitName(l.Resource), b.prlimit, 0, uint64(l.Resource), uint64(b.words(l.Cur, l.Max)))
	}
	b.bound(p.Capabilities)
	b.identity(p)
	b.capabilities(p.Capabilities)
	if p.NoNewPrivs {
		b.call("set no_new_privs", b.prctl, prSetNoNewPrivs, 1)
	}
	if p.Dir != "" {
		b.call("change directory to "+p.Dir, b.chdir, uint64(b.string(p.Dir, 0)))
	}
	b.logFile(p.Stdout, 1)
	b.logFile(p.Stderr, 2)
	if p.DeathSignal != 0 { // after the identity, whose change forgets it
		b.call("ask for a signal at the master's death", b.prctl, prSetPdeathsig, uint64(p.DeathSignal))
	}
	if p.Held { // at the end of the other side's life this reads nothing, and the report fails
		b.call("wait for the master", b.read, uint64(report), uint64(b.words(0)), 1)
	}
	b.call("report", b.write, uint64(report), uint64(b.string(string(rune(launch.Executing)), 0)), 1)
	b.call("execute "+p.Path, b.execve, uint64(b.string(p.Path, 0)), uint64(b.list(p.Args)), uint64(env))
	return b.image()
}

// environ is the worker's, with what only the process itself can know.
func (b *builder) environ(p *launch.Plan) address {
	env, added := p.Env, 0
	add := func(name string) {
		env = launch.SetEnv(env, name, "")
		added++
	}
	if p.ListenPID {
		add("LISTEN_PID")
	}
	if p.WatchdogPID {
		add("WATCHDOG_PID")
	}
	numbers := added
	if p.Journal != nil {
		add("JOURNAL_STREAM")
	}
	var list []uint64
	var ends []address // of those that are added: where their value goes
	for i, kv := range env {
		if i < len(env)-added {
			list = append(list, uint64(b.string(kv, 0)))
			continue
		}
		at := b.string(kv, 2*longestNumber+1)
		list, ends = append(list, uint64(at)), append(ends, at+address(len(kv)))
	}
	if numbers > 0 {
		pid := b.words(0)
		b.call("get the process ID", b.getpid).store = pid
		for _, to := range ends[:numbers] {
			b.decimal(pid, to, 0)
		}
	}
	if p.Journal != nil {
		b.journal(p.Journal, ends[numbers])
	}
	return b.words(append(list, 0)...)
}

// journal puts streams on descriptors 1 and 2, and writes to the address which
// one the second is, as launch.Journal says.
func (b *builder) journal(j *launch.Journal, to address) {
	const name = "connect to the journal"
	path := j.Path
	if path == "" {
		path = launch.JournalSocket
	}
	if len(path) > longestPath && b.err == nil {
		b.err = syscall.EINVAL
	}
	size := uint64(2 + len(path) + 1)
	socket := binary.LittleEndian.AppendUint16(nil, syscall.AF_UNIX)
	if path[0] == '@' { // an abstract name begins with a zero and ends with none
		socket = append(append(socket, 0), path[1:]...)
		size--
	} else {
		socket = append(append(socket, path...), 0)
	}
	at, buffer, fd := b.bytes(socket), b.words(launch.JournalBuffer), b.words(0)
	loaded := func(s *step) { s.flags |= load }
	last := uint64(0)
	for i, priority := range []string{launch.JournalStdout, launch.JournalStderr} {
		if !j.Takes(i + 1) {
			continue
		}
		last = uint64(i + 1)
		header := []byte(j.Header(priority))
		b.call(name, b.socket, syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0).store = fd
		loaded(b.call(name, b.connect, uint64(fd), uint64(at), size))
		loaded(b.try(b.shutdown, uint64(fd), syscall.SHUT_RD))
		loaded(b.try(b.setsockopt, uint64(fd), syscall.SOL_SOCKET, syscall.SO_SNDBUF, uint64(buffer), 4))
		loaded(b.call(name, b.sendto, uint64(fd), uint64(b.bytes(header)), uint64(len(header)), msgNosignal))
		loaded(b.call(name, b.dup3, uint64(fd), uint64(i+1), 0))
		loaded(b.try(b.close, uint64(fd)))
	}
	stat := b.bytes(make([]byte, statSize))
	b.call(name, b.fstat, last, uint64(stat))
	b.decimal(stat+devAt, to, ':')
	b.decimal(stat+inoAt, 0, 0)
}

func (b *builder) overwrite(path, text, name string) {
	fd := b.words(0)
	b.call(name, b.openat, atFDCWD, uint64(b.string(path, 0)), syscall.O_WRONLY|syscall.O_CLOEXEC).store = fd
	b.call(name, b.write, uint64(fd), uint64(b.string(text, 0)), uint64(len(text))).flags = load
	b.try(b.close, uint64(fd)).flags |= load
}

// logFile puts a log file on a descriptor, as launch.LogSteps says.
func (b *builder) logFile(path string, fd int) {
	if path == "" {
		return
	}
	n, words := uint64(fd), launch.LogSteps(path, fd)
	b.call(words.Close, b.close, n)
	b.call(words.Open, b.openat, atFDCWD, uint64(b.string(path, 0)), launch.LogFlags|b.noFollow, launch.LogMode)
	b.call(words.Judge, b.syncFileRange, n)
	b.call(words.Settle, b.fcntl, n, syscall.F_SETFL, syscall.O_APPEND)
}

// identity is groups, then group, then user: each needs the rights that the
// next one gives up.
func (b *builder) identity(p *launch.Plan) {
	if p.SetsGroups() {
		list := make([]byte, 0, 4*len(p.Groups))
		for _, g := range p.Groups {
			list = binary.LittleEndian.AppendUint32(list, uint32(g))
		}
		b.call("set groups", b.setgroups, uint64(len(p.Groups)), uint64(b.bytes(list)))
	}
	if p.GID >= 0 {
		g := uint64(p.GID)
		b.call("set group "+strconv.Itoa(p.GID), b.setresgid, g, g, g)
	}
	if p.UID >= 0 {
		u := uint64(p.UID)
		b.call("set user "+strconv.Itoa(p.UID), b.setresuid, u, u, u)
	}
}
