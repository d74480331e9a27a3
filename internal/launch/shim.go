package launch

import "syscall"

// sysCloseRange has this number on every architecture.
const (
	sysCloseRange     = 436
	closeRangeCloexec = 4
)

// init runs on the process's main thread, where the runtime keeps it until
// main starts: the steps below act on one thread only, the one that execs.
func init() {
	if v, ok := syscall.Getenv(Variable); ok {
		plan, report, ok := descriptors(v)
		if !ok {
			_, _ = syscall.Write(2, []byte(Variable+" is fugue's own and must not be set by hand\n"))
			syscall.Exit(127)
		}
		shim(plan, report)
	}
	beBorn()
}

// descriptors reads "PLAN,REPORT".
func descriptors(v string) (plan, report int, ok bool) {
	n := [2]int{}
	field, digits := 0, 0
	for i := range len(v) {
		switch c := v[i]; {
		case c >= '0' && c <= '9' && digits < 9:
			n[field] = n[field]*10 + int(c-'0')
			digits++
		case c == ',' && field == 0 && digits > 0:
			field, digits = 1, 0
		default:
			return 0, 0, false
		}
	}
	return n[0], n[1], field == 1 && digits > 0
}

// shim does not return. Each step that needs neither the worker's rights nor
// its limits is done here in plain Go; the rest is a list of raw system calls.
func shim(plan, report int) {
	run(defaults(nil, deadly[:]), report)
	// From the plan on no descriptor is the worker's. The ones before it are
	// exactly those that it gets, so a descriptor that the master forgot to
	// mark close-on-exec ends here.
	if _, _, errno := syscall.RawSyscall(sysCloseRange, uintptr(plan), ^uintptr(0)>>32, closeRangeCloexec); errno != 0 {
		syscall.CloseOnExec(plan) // before Linux 5.11
		syscall.CloseOnExec(report)
	}
	b, errno := contents(plan)
	if errno != 0 {
		fail(report, "read the plan", errno)
	}
	p, ok := decode(b)
	if !ok {
		fail(report, "read the plan", syscall.EBADMSG)
	}
	env := p.environ(syscall.Getpid())
	if p.Journal != nil {
		stream, errno := p.Journal.connect()
		if errno != 0 {
			fail(report, "connect to the journal", errno)
		}
		env = SetEnv(env, "JOURNAL_STREAM", stream)
	}
	if p.OOMScoreAdj != nil {
		if errno := overwrite("/proc/self/oom_score_adj", itoa(*p.OOMScoreAdj)); errno != 0 {
			fail(report, "set oom_score_adj "+itoa(*p.OOMScoreAdj), errno)
		}
	}
	t, errno := p.tape(env, report)
	if errno != 0 {
		fail(report, "read the plan", errno)
	}
	run(t, report)
}

func contents(fd int) ([]byte, syscall.Errno) {
	var st syscall.Stat_t
	if err := syscall.Fstat(fd, &st); err != nil {
		return nil, number(err)
	}
	b := make([]byte, st.Size)
	for n := 0; n < len(b); {
		m, err := syscall.Pread(fd, b[n:], int64(n))
		if err != nil {
			return nil, number(err)
		}
		if m == 0 {
			return nil, syscall.EBADMSG
		}
		n += m
	}
	return b, 0
}

func (p *Plan) environ(pid int) []string {
	env := p.Env
	if p.ListenPID {
		env = SetEnv(env, "LISTEN_PID", itoa(pid))
	}
	if p.WatchdogPID {
		env = SetEnv(env, "WATCHDOG_PID", itoa(pid))
	}
	return env
}

// SetEnv replaces every value that a name has: getenv finds the first, some
// shells keep the last, and they must not differ.
func SetEnv(env []string, name, value string) []string {
	out := make([]string, 0, len(env)+1)
	for _, kv := range env {
		if len(kv) <= len(name) || kv[len(name)] != '=' || kv[:len(name)] != name {
			out = append(out, kv)
		}
	}
	return append(out, name+"="+value)
}

const (
	// JournalSocket takes the streams of those that do not say another.
	JournalSocket = "/run/systemd/journal/stdout"
	// JournalBuffer is what is asked for on the way to journald, which never
	// answers: a large buffer keeps a worker going while journald is busy.
	// systemd asks for the same, and less will do.
	JournalBuffer = 8 << 20
	// JournalStdout is the priority of what comes from there: info.
	JournalStdout = "6"
	// JournalStderr is warning.
	JournalStderr = "4"
)

// Takes reports whether a descriptor becomes a stream.
func (j *Journal) Takes(fd int) bool { return j.Only == 0 || j.Only == fd }

// Header is how a stream begins: identifier, unit, priority, level prefix, and
// whether to forward to syslog, kmsg and console.
func (j *Journal) Header(priority string) string {
	return j.Identifier + "\n" + j.Unit + "\n" + priority + "\n1\n0\n0\n0\n"
}

// connect puts journal streams on descriptors 1 and 2 and gives the value of
// JOURNAL_STREAM, by which a program sees where its standard error goes.
func (j *Journal) connect() (string, syscall.Errno) {
	last := 0
	for fd, priority := range [...]string{1: JournalStdout, 2: JournalStderr} {
		if fd == 0 || !j.Takes(fd) {
			continue
		}
		if errno := j.stream(fd, priority); errno != 0 {
			return "", errno
		}
		last = max(last, fd)
	}
	var st syscall.Stat_t
	if err := syscall.Fstat(last, &st); err != nil {
		return "", number(err)
	}
	return utoa(st.Dev) + ":" + utoa(st.Ino), 0
}

func (j *Journal) stream(fd int, priority string) syscall.Errno {
	path := j.Path
	if path == "" {
		path = JournalSocket
	}
	s, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return number(err)
	}
	if err := syscall.Connect(s, &syscall.SockaddrUnix{Name: path}); err != nil {
		return number(err)
	}
	_ = syscall.Shutdown(s, syscall.SHUT_RD)
	_ = syscall.SetsockoptInt(s, syscall.SOL_SOCKET, syscall.SO_SNDBUF, JournalBuffer)
	if _, err := syscall.Write(s, []byte(j.Header(priority))); err != nil {
		return number(err)
	}
	if err := syscall.Dup3(s, fd, 0); err != nil {
		return number(err)
	}
	_ = syscall.Close(s)
	return 0
}

func overwrite(path, text string) syscall.Errno {
	fd, err := syscall.Open(path, syscall.O_WRONLY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return number(err)
	}
	_, err = syscall.Write(fd, []byte(text))
	_ = syscall.Close(fd)
	return number(err)
}

func number(err error) syscall.Errno {
	if err == nil {
		return 0
	}
	if errno, ok := err.(syscall.Errno); ok {
		return errno
	}
	return syscall.EIO
}
