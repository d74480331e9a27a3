package cli_test

import (
	"errors"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// With no worker left clients are refused at once, until one is started; a
// master that is killed meanwhile leaves nothing that stands in the way of the
// next.
func TestNobodyLeftRefuses(t *testing.T) {
	t.Parallel()
	p := newPool(t)
	flags := p.dir + "/flags"
	behave := func(line string) {
		t.Helper()
		if err := os.WriteFile(flags, []byte(line+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	behave("version=v1")
	words := p.keeping()
	words[slices.Index(words, p.dir+"/web.sock")] = "127.0.0.1:0"
	// The third try in a row is not seen in this test.
	words = append(slices.Insert(words, 1, "--when_empty", "refuse", "--restart.backoff", "1h", "--restart.max_backoff", "1h"), "-config", flags)
	p.begin(words...)
	address := p.status().Listeners[0].Address
	served := func() {
		t.Helper()
		answer, err := http.Get("http://" + address)
		if err != nil {
			t.Fatal(err)
		}
		_ = answer.Body.Close()
		http.DefaultClient.CloseIdleConnections()
	}
	refused := func() {
		t.Helper()
		if c, err := net.Dial("tcp", address); !errors.Is(err, syscall.ECONNREFUSED) {
			if err == nil {
				_ = c.Close()
			}
			t.Errorf("connect: %v", err)
		}
	}
	perish := func() {
		t.Helper()
		served()
		behave("exit=1")
		for _, w := range p.status().Workers {
			if err := syscall.Kill(w.PID, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
		}
		p.await("connections to http are refused until one is started")
		refused()
		if code, out, errs := ask(t, p.fugue("status", "web")); code != 6 || !strings.Contains(out, "refusing connections") {
			t.Errorf("status: exit %d\n%s%s", code, out, errs)
		}
	}

	perish()
	behave("version=v2")
	if code, out, errs := ask(t, p.fugue("reload", "web")); code != 0 {
		t.Fatalf("reload: exit %d\n%s%s", code, out, errs)
	}
	perish()
	p.die()
	behave("version=v3")
	words[slices.Index(words, "127.0.0.1:0")] = address
	p.again("generation 1 serves", words...)
	served()
}
