package logs

import (
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sirupsen/logrus"
)

// Whoever logs goes on while nobody reads; what is lost is counted, and said
// when somebody does.
func TestOwnDoesNotWait(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	log := logrus.New()
	own := NewOwn(w, false, log)
	const n = 20 * ownQueue // far more than a pipe holds
	for range n {
		log.Infof("%s", strings.Repeat("x", 100))
	}
	text := make(chan string)
	go func() {
		b, _ := io.ReadAll(r)
		text <- string(b)
	}()
	own.Flush()
	log.Info("the end\x1b[2J")
	own.Flush()
	_ = w.Close()
	all := <-text
	if !strings.Contains(all, " entries of this log were lost: nobody took them\n") || !strings.HasSuffix(all, " the end?[2J\n") {
		t.Errorf("%d bytes, the end is %q", len(all), all[max(0, len(all)-300):])
	}
}

// The file is opened again by its path; the format and the place can change.
func TestOwnFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	log := logrus.New()
	own := NewOwn(io.Discard, false, log)
	own.Configure(OwnSettings{Pool: "web", To: path, Format: "json"})
	log.WithField("worker", 3).Warn("first")
	own.Flush()
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	if got, err := own.Reopen(); got != path || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	own.Configure(OwnSettings{Pool: "web", To: path, Format: "text"})
	log.Info("second\nline")
	own.Flush()
	b, err := os.ReadFile(path + ".1")
	if err != nil {
		t.Fatal(err)
	}
	var e struct {
		Level, Message, Pool string
		Worker               int
	}
	if err := json.Unmarshal(b, &e); err != nil || e.Level != "warning" || e.Message != "first" || e.Pool != "web" || e.Worker != 3 {
		t.Errorf("%s: %+v, %v", b, e, err)
	}
	b, err = os.ReadFile(path)
	if lines := strings.Split(string(b), "\n"); err != nil || len(lines) != 3 || !strings.HasSuffix(lines[0], " second") || !strings.HasSuffix(lines[1], " line") {
		t.Errorf("%q, %v", b, err)
	}
}
