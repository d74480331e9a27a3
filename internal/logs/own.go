package logs

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/coreos/go-systemd/v22/journal"
	"github.com/sirupsen/logrus"
)

// Own is the master's own log. Whoever logs never waits: entries go through a
// queue, and what does not fit, because a pipe or a disk is full, is counted.
type Own struct {
	stderr   io.Writer
	stream   bool // stderr is a stream of the journal
	queue    chan *logrus.Entry
	settings atomic.Pointer[OwnSettings]
	lost     atomic.Int64
	reopen   chan chan error
	flush    chan chan struct{}

	// Of the goroutine that writes.
	used *OwnSettings
	file *File
}

// OwnSettings say where the log goes.
type OwnSettings struct {
	Pool string
	To   string // "journal" or the path of a file; "", "stderr"
	// Format is "text", "json", or "auto", "": fields where it goes to the
	// journal, else text.
	Format string
}

// The words of OwnSettings.
const (
	toJournal  = "journal"
	formatJSON = "json"
)

// ownQueue is how many entries wait.
const ownQueue = 1024

// stuck is how long a log that takes nothing is waited for.
const stuck = 2 * time.Second

// NewOwn makes a log that goes to stderr, and puts a logger in front of it.
func NewOwn(stderr io.Writer, isJournal bool, log *logrus.Logger) *Own {
	o := &Own{stderr: stderr, stream: isJournal, queue: make(chan *logrus.Entry, ownQueue), reopen: make(chan chan error), flush: make(chan chan struct{})}
	o.settings.Store(&OwnSettings{})
	log.SetOutput(io.Discard)
	log.AddHook(o)
	go o.run()
	return o
}

// Levels implements logrus.Hook.
func (o *Own) Levels() []logrus.Level { return logrus.AllLevels }

// Fire implements logrus.Hook.
func (o *Own) Fire(e *logrus.Entry) error {
	entry := &logrus.Entry{Time: e.Time, Level: e.Level, Message: e.Message, Data: maps.Clone(e.Data)}
	select {
	case o.queue <- entry:
	default:
		o.lost.Add(1)
	}
	return nil
}

// Configure changes where the entries from now on go; it does not wait.
func (o *Own) Configure(s OwnSettings) { o.settings.Store(&s) }

// errStuck is the error of a log that nobody reads, or whose disk hangs.
var errStuck = errors.New("the master's own log takes nothing")

// Reopen opens the file again, and gives its path; "" where it is none.
func (o *Own) Reopen() (path string, err error) {
	s := o.settings.Load()
	if !isPath(s.To) {
		return "", nil
	}
	done := make(chan error, 1)
	late := time.After(stuck)
	select {
	case o.reopen <- done:
	case <-late:
		return "", errStuck
	}
	select {
	case err := <-done:
		return s.To, err
	case <-late:
		return "", errStuck
	}
}

// Flush waits until what was logged is written, or cannot be soon.
func (o *Own) Flush() {
	done := make(chan struct{})
	late := time.After(stuck)
	select {
	case o.flush <- done:
	case <-late:
		return
	}
	select {
	case <-done:
	case <-late:
	}
}

func isPath(to string) bool { return strings.HasPrefix(to, "/") }

func (o *Own) run() {
	for {
		select {
		case e := <-o.queue:
			o.write(e)
		case done := <-o.reopen:
			o.adjust()
			var err error
			if o.file != nil {
				err = o.file.Reopen()
			}
			done <- err
		case done := <-o.flush:
			for n := len(o.queue); n > 0; n-- {
				o.write(<-o.queue)
			}
			close(done)
		}
	}
}

// adjust follows the settings.
func (o *Own) adjust() {
	s := o.settings.Load()
	if s == o.used {
		return
	}
	if o.file != nil && (o.used == nil || s.To != o.used.To) {
		_ = o.file.Close()
		o.file = nil
	}
	o.used = s
	if isPath(s.To) && o.file == nil {
		f, err := OpenFile(s.To, OurRights())
		if err != nil {
			o.put(&logrus.Entry{Time: time.Now(), Level: logrus.ErrorLevel, Message: fmt.Sprintf("the master's own log stays where it was: %v", err)})
			return
		}
		o.file = f
	}
}

func (o *Own) write(e *logrus.Entry) {
	o.adjust()
	o.put(e)
	if n := o.lost.Swap(0); n > 0 {
		o.put(&logrus.Entry{Time: e.Time, Level: logrus.WarnLevel, Message: fmt.Sprintf("%d entries of this log were lost: nobody took them", n)})
	}
}

// put writes one entry. An error has nobody left to be told.
func (o *Own) put(e *logrus.Entry) {
	fields := o.used.Format == "" || o.used.Format == "auto"
	native := o.used.To == toJournal || o.used.To != toJournal && !isPath(o.used.To) && o.stream && fields
	if native && o.native(e) == nil {
		return
	}
	var w io.Writer = o.stderr
	if o.file != nil {
		w = o.file
	}
	if o.used.Format == formatJSON {
		_, _ = w.Write(o.object(e))
		return
	}
	prefix := e.Time.Format(time.DateTime+".000") + " "
	if o.file == nil && o.stream {
		prefix = fmt.Sprintf("<%d>", priority(e.Level))
	}
	var b strings.Builder
	for line := range strings.Lines(e.Message) {
		b.WriteString(prefix + Printable(strings.TrimRight(line, "\n")) + "\n")
	}
	_, _ = io.WriteString(w, b.String())
}

func priority(l logrus.Level) journal.Priority {
	switch l {
	case logrus.PanicLevel, logrus.FatalLevel, logrus.ErrorLevel:
		return journal.PriErr
	case logrus.WarnLevel:
		return journal.PriWarning
	case logrus.DebugLevel, logrus.TraceLevel:
		return journal.PriDebug
	}
	return journal.PriInfo
}

// native sends an entry with its fields, see systemd.journal-fields(7).
func (o *Own) native(e *logrus.Entry) error {
	vars := map[string]string{"SYSLOG_IDENTIFIER": "fugue", "FUGUE_POOL": o.used.Pool}
	for key, v := range e.Data {
		vars["FUGUE_"+strings.ToUpper(key)] = fmt.Sprint(v)
	}
	lines := strings.Split(strings.TrimRight(e.Message, "\n"), "\n")
	for i, line := range lines {
		lines[i] = Printable(line)
	}
	return journal.Send(strings.Join(lines, "\n"), priority(e.Level), vars)
}

// object is an entry as JSON, an object a line.
func (o *Own) object(e *logrus.Entry) []byte {
	all := map[string]any{"time": e.Time.Format(time.RFC3339Nano), "level": e.Level.String(), "message": e.Message}
	if o.used.Pool != "" {
		all["pool"] = o.used.Pool
	}
	maps.Copy(all, e.Data)
	b, err := json.Marshal(all)
	if err != nil {
		b, _ = json.Marshal(map[string]any{"level": e.Level.String(), "message": e.Message})
	}
	return append(b, '\n')
}

// OwnStderr is the log of a process on its standard error.
func OwnStderr(log *logrus.Logger) *Own {
	is, err := journal.StderrIsJournalStream()
	return NewOwn(os.Stderr, err == nil && is, log)
}
