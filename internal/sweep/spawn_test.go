package sweep

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestMain(m *testing.M) {
	if IsCaretaker(os.Getpid(), testUnit) {
		os.Exit(standIn())
	}
	os.Exit(m.Run())
}

const testUnit = "web.service"

// standIn is a caretaker that takes its time, or does not come that far.
func standIn() int {
	path := os.Getenv("LOCK")
	l, err := resume(path, lockFD)
	if err != nil || filepath.Base(path) == "dies" {
		return 1
	}
	<-time.After(100 * time.Millisecond)
	if os.WriteFile(path+".seen", nil, 0o600) != nil {
		return 1
	}
	begun()
	l.release()
	return 0
}

// Whoever starts a caretaker has it begun, and what it reads may go; or knows
// that there is none.
func TestACaretakerHasBegun(t *testing.T) {
	for name, want := range map[string]bool{"slow": true, "dies": false} {
		path := filepath.Join(t.TempDir(), name)
		l, err := tryLock(path)
		if err != nil {
			t.Fatal(err)
		}
		t.Setenv("LOCK", path)
		if err := l.spawn(Options{Unit: testUnit}); (err == nil) != want {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := os.Stat(path + ".seen"); (err == nil) != want {
			t.Errorf("%s: had it begun? %v", name, err)
		}
		l.pass()
	}
}

// The caretaker of a unit is known by its words, and nobody else by chance.
func TestIsCaretaker(t *testing.T) {
	for cmdline, want := range map[string]bool{
		"fugue\x00sweep\x00--caretaker\x00web.service\x00":        true,
		"fugue\x00sweep\x00--caretaker\x00web.service\x00web\x00": true,
		"fugue\x00sweep\x00--caretaker\x00web.service2\x00":       false,
		"fugue\x00sweep\x00web.service\x00":                       false,
		"sh\x00fugue\x00sweep\x00--caretaker\x00web.service\x00":  false,
		"/usr/bin/testworker\x00":                                 false,
		"":                                                        true, // it is ending
	} {
		if got := isCaretaker(cmdline, "web.service"); got != want {
			t.Errorf("%q: %v", cmdline, got)
		}
	}
	if IsCaretaker(1, "web.service") {
		t.Error("PID 1 is one")
	}
}
