package logs

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// A JournalQuery says whose lines to read back.
type JournalQuery struct {
	PID        int
	Identifier string // SYSLOG_IDENTIFIER of the worker's streams
	Since      time.Time
	N          int // how many of the last lines

	// Program replaces journalctl, looked up in PATH, in tests.
	Program string
}

// syncTime bounds the wait for journald to write down what it has taken.
const syncTime = 2 * time.Second

// matched is how many lines are looked at for N of standard error.
const matched = 100

// JournalTail gives the last lines that a worker wrote to its journal streams:
// those of standard error (priority warning or more urgent, as package launch
// sets it), or of both if it wrote none there. The error of one that may not
// read the journal names the command that shows them.
func JournalTail(ctx context.Context, q JournalQuery) ([]string, error) {
	program := q.Program
	if program == "" {
		program = "journalctl"
	}
	// journald has the lines when the worker is dead, the files perhaps not
	// yet. Only root may ask for it; without it a tail may lack its last lines.
	syncCtx, cancel := context.WithTimeout(ctx, syncTime)
	_ = exec.CommandContext(syncCtx, program, "--sync").Run()
	cancel()

	args := append([]string{"--output=json", "--all", "--quiet", "--no-pager",
		"--lines=" + strconv.Itoa(max(q.N, matched))}, q.matches()...)
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		if why := OneLine(stderr.String()); why != "" {
			err = fmt.Errorf("%w: %s", err, why)
		}
		return nil, fmt.Errorf("read the journal: %w; see %s", err, q.Command())
	}
	return tailOf(parseJournal(out), q.N), nil
}

// Command is what a person types to see the lines, in full.
func (q JournalQuery) Command() string {
	words := []string{"journalctl"}
	for _, m := range q.matches() {
		if strings.ContainsAny(m, " '\"\\$") {
			m = "'" + strings.ReplaceAll(m, "'", `'\''`) + "'"
		}
		words = append(words, m)
	}
	return strings.Join(words, " ")
}

// named is the end of the error of JournalTail, for the worker of a pool.
var named = regexp.MustCompile(`; see journalctl --since=@([0-9]{1,12}) _PID=([0-9]{1,10}) SYSLOG_IDENTIFIER=([A-Za-z0-9_.@-]+/[0-9]+)$`)

// Named is the query that such an error names, for a reader who may see what its
// writer might not. Other text names none.
func Named(text string) (q JournalQuery, ok bool) {
	m := named.FindStringSubmatch(text)
	if m == nil {
		return JournalQuery{}, false
	}
	since, _ := strconv.ParseInt(m[1], 10, 64)
	pid, _ := strconv.Atoi(m[2])
	return JournalQuery{PID: pid, Identifier: m[3], Since: time.Unix(since, 0)}, true
}

func (q JournalQuery) matches() []string {
	m := []string{"_PID=" + strconv.Itoa(q.PID)}
	if q.Identifier != "" {
		m = append(m, "SYSLOG_IDENTIFIER="+q.Identifier)
	}
	if !q.Since.IsZero() {
		m = append([]string{"--since=@" + strconv.FormatInt(q.Since.Unix(), 10)}, m...)
	}
	return m
}

// An entry is a line of the journal.
type entry struct {
	message  string
	priority int
}

// parseJournal reads the output of journalctl -o json: an object a line, whose
// values are strings, or arrays of bytes where they are not UTF-8 or not
// printable, or null where they are too long, or arrays of those for a field
// that was given more than once.
func parseJournal(out []byte) []entry {
	var entries []entry
	for line := range bytes.Lines(out) {
		var fields struct{ MESSAGE, PRIORITY json.RawMessage }
		if json.Unmarshal(line, &fields) != nil {
			continue
		}
		message, ok := journalText(fields.MESSAGE)
		if !ok {
			continue
		}
		e := entry{message: message, priority: 6}
		if p, ok := journalText(fields.PRIORITY); ok {
			if n, err := strconv.Atoi(p); err == nil {
				e.priority = n
			}
		}
		entries = append(entries, e)
	}
	return entries
}

func journalText(raw json.RawMessage) (string, bool) {
	var text *string
	if json.Unmarshal(raw, &text) == nil {
		if text == nil {
			return "", false
		}
		return *text, true
	}
	var array []json.RawMessage
	if json.Unmarshal(raw, &array) != nil || len(array) == 0 {
		return "", false
	}
	b := make([]byte, 0, len(array))
	for _, item := range array {
		var c uint8
		if json.Unmarshal(item, &c) != nil {
			return journalText(array[0]) // several values
		}
		b = append(b, c)
	}
	return string(b), true
}

func tailOf(entries []entry, n int) []string {
	var errs, all []string
	for _, e := range entries {
		all = append(all, e.message)
		if e.priority <= 4 {
			errs = append(errs, e.message)
		}
	}
	if len(errs) > 0 {
		all = errs
	}
	return all[max(0, len(all)-n):]
}
