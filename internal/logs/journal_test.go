package logs

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// fakeJournalctl answers as the script says and notes its arguments.
func fakeJournalctl(t *testing.T, script string) (program, args string) {
	t.Helper()
	dir := t.TempDir()
	program, args = filepath.Join(dir, "journalctl"), filepath.Join(dir, "args")
	text := "#!/bin/sh\necho \"$@\" >> " + args + "\n[ \"$1\" = --sync ] && exit 1\n" + script
	if err := os.WriteFile(program, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	return program, args
}

func TestJournalTail(t *testing.T) {
	program, args := fakeJournalctl(t, `cat <<'E'
{"MESSAGE":"out 1","PRIORITY":"6"}
{"MESSAGE":"err 1","PRIORITY":"4"}
{"MESSAGE":[98,97,100,255],"PRIORITY":"3"}
{"MESSAGE":null,"PRIORITY":"3"}
{"PRIORITY":"3"}
{"MESSAGE":["first","second"],"PRIORITY":["4","6"]}
not json
{"MESSAGE":"out 2"}
E`)
	q := JournalQuery{PID: 17, Identifier: "web/3", Since: time.Unix(1700000000, 999), N: 10, Program: program}
	got, err := JournalTail(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"err 1", "bad\xff", "first"}, got); d != "" {
		t.Error(d)
	}
	b, err := os.ReadFile(args)
	if err != nil {
		t.Fatal(err)
	}
	want := "--sync\n--output=json --all --quiet --no-pager --lines=100 --since=@1700000000 _PID=17 SYSLOG_IDENTIFIER=web/3\n"
	if d := cmp.Diff(want, string(b)); d != "" {
		t.Error(d)
	}
	q.N = 2
	if got, err = JournalTail(t.Context(), q); err != nil || cmp.Diff([]string{"bad\xff", "first"}, got) != "" {
		t.Errorf("%q, %v", got, err)
	}
}

func TestJournalTailOfOutputAlone(t *testing.T) {
	program, _ := fakeJournalctl(t, `echo '{"MESSAGE":"out","PRIORITY":"6"}'`)
	got, err := JournalTail(t.Context(), JournalQuery{PID: 1, N: 10, Program: program})
	if err != nil || cmp.Diff([]string{"out"}, got) != "" {
		t.Errorf("%q, %v", got, err)
	}
}

func TestJournalThatMayNotBeRead(t *testing.T) {
	program, _ := fakeJournalctl(t, `echo 'No journal files were opened due to insufficient permissions.' >&2; exit 1`)
	_, err := JournalTail(t.Context(), JournalQuery{PID: 17, Identifier: "my pool/3", N: 10, Program: program})
	if err == nil || !strings.Contains(err.Error(), "insufficient permissions") ||
		!strings.HasSuffix(err.Error(), "see journalctl _PID=17 'SYSLOG_IDENTIFIER=my pool/3'") {
		t.Error(err)
	}
	_, err = JournalTail(t.Context(), JournalQuery{PID: 17, N: 1, Program: "/nonexistent/journalctl"})
	if err == nil || !strings.Contains(err.Error(), "see journalctl _PID=17") {
		t.Error(err)
	}
}

// Who may read the journal finds the lines by what the one said who might not.
func TestNamedQuery(t *testing.T) {
	program, _ := fakeJournalctl(t, `exit 1`)
	q := JournalQuery{PID: 17, Identifier: "my-pool@a.b/3", Since: time.Unix(1700000000, 0), N: 10, Program: program}
	_, err := JournalTail(t.Context(), q)
	if err == nil {
		t.Fatal("no error")
	}
	got, ok := Named(OneLine(err.Error()))
	if got.N, got.Program = q.N, q.Program; !ok || got != q {
		t.Errorf("%v names %+v, %t", err, got, ok)
	}
	for _, text := range []string{"", "see journalctl", "x; see journalctl --since=@1 _PID=1 SYSLOG_IDENTIFIER=a/1 --flush", "x; see journalctl --since=@1 _PID=1 SYSLOG_IDENTIFIER='a b/1'"} {
		if q, ok := Named(text); ok {
			t.Errorf("%q names %+v", text, q)
		}
	}
}

func FuzzParseJournal(f *testing.F) {
	f.Add([]byte(`{"MESSAGE":[1,2,300],"PRIORITY":4}`))
	f.Add([]byte(`{"MESSAGE":[[["x"]]]}`))
	f.Fuzz(func(_ *testing.T, b []byte) { tailOf(parseJournal(b), 3) })
}
