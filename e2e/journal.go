package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"strings"
)

// Journal returns what journalctl prints with these arguments ("-u", "web"),
// with all in it that was written before the call.
func (sb *Sandbox) Journal(args ...string) string {
	sb.t.Helper()
	// --sync waits until journald has stored what was sent to it.
	sb.Do("journalctl", "--sync")
	return sb.Do(append([]string{"journalctl", "--no-pager", "-q"}, args...)...)
}

// Entry is one journal entry by field; fields that are not text are left out.
type Entry map[string]string

// JournalEntries is Journal with all fields.
func (sb *Sandbox) JournalEntries(args ...string) []Entry {
	sb.t.Helper()
	var entries []Entry
	for line := range strings.Lines(sb.Journal(append(args, "-o", "json")...)) {
		e, err := parseEntry([]byte(line))
		if err != nil {
			sb.t.Fatalf("read a journal entry: %v\n%s", err, line)
		}
		entries = append(entries, e)
	}
	return entries
}

// WaitJournal returns the first entry, old or new, that journalctl shows with
// these arguments and match accepts.
func (sb *Sandbox) WaitJournal(match func(Entry) bool, args ...string) Entry {
	sb.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), guard)
	defer cancel()
	cmd := sb.Command(ctx, append([]string{"journalctl", "-q", "-f", "-n", "all", "-o", "json"}, args...)...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		sb.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		sb.t.Fatal(err)
	}
	defer func() {
		cancel()
		_ = cmd.Wait() // killed: we have what we wanted
	}()
	lines := bufio.NewReader(out)
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			sb.t.Fatalf("wait for a journal entry: none was written in %v", guard)
		}
		e, err := parseEntry(line)
		if err != nil {
			sb.t.Fatalf("read a journal entry: %v\n%s", err, line)
		}
		if match(e) {
			return e
		}
	}
}

// WaitMessage is WaitJournal for an entry whose MESSAGE contains text.
func (sb *Sandbox) WaitMessage(text string, args ...string) Entry {
	sb.t.Helper()
	return sb.WaitJournal(func(e Entry) bool { return strings.Contains(e["MESSAGE"], text) }, args...)
}

func parseEntry(line []byte) (Entry, error) {
	var fields map[string]any
	if err := json.Unmarshal(line, &fields); err != nil {
		return nil, err
	}
	e := make(Entry, len(fields))
	for key, value := range fields {
		if text, ok := value.(string); ok {
			e[key] = text
		}
	}
	return e, nil
}

// lastJournal is for the log of a failed test: never fatal, nor long.
func (sb *Sandbox) lastJournal() string {
	ctx, cancel := context.WithTimeout(context.Background(), guard)
	defer cancel()
	out, err := sb.Command(ctx, "journalctl", "--no-pager", "-q", "-n", "200", "-o", "short-precise").CombinedOutput()
	if err != nil {
		return string(out) + err.Error()
	}
	return string(out)
}
