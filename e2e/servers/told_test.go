package servers_test

import (
	"errors"
	"os/exec"
	"strings"
	"testing"

	"fugue/internal/control"
)

// TestDialects has servers take their socket in the ways that no preset uses.
// einhorn is a way and no server: whoever takes its variable serves.
func TestDialects(t *testing.T) {
	for _, s := range []server{
		{name: "einhorn", command: []string{"/usr/bin/python3", "loop.py", "EINHORN_FD_0"}, top: `dialect = ["einhorn"]`},
		{name: "puma", command: []string{"/usr/bin/puma", "--quiet", "--bind", "tcp://{addr}", "config.ru"}, top: `dialect = ["puma"]`},
		{name: "unicorn", command: []string{"/usr/bin/unicorn", "--listen", "{addr}", "config.ru"}, top: `dialect = ["unicorn"]`, stop: `signal = "QUIT"`},
		{name: "uvicorn behind an interpreter", command: []string{"/usr/bin/python3", "-m", "uvicorn", "--log-level", "warning", "asgi:app"}, preset: "uvicorn"},
	} {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			need(t, s)
			s.rate = 50
			p := startPool(t, s.release(0))
			config := s.load()
			config.Address = p.Address
			load := startLoad(t, config)
			awaitEveryWorker(t, p, load)
			r := load.Stop()
			checkFlow(t, r)
			if r.New.BadStatus+r.Kept.BadStatus > 0 {
				t.Errorf("want no bad status: %v", r)
			}
		})
	}
}

// A server that binds for itself is told so, and what to say instead.
func TestIgnoredSocket(t *testing.T) {
	need(t, loop)
	for _, c := range []struct {
		name    string
		command []string
		ready   string
		want    []string
	}{
		{
			"binds the same", []string{"/usr/bin/python3", "-m", "http.server", "{port}"}, "",
			[]string{"ended with exit status 1 before it was available: it tried to bind an address that is in use", "{fd}"},
		},
		{
			"binds another", []string{"/usr/bin/python3", "-m", "http.server", "--bind", "127.0.0.1", "0"}, "9s",
			[]string{"was not ready within 9s: it listens on 127.0.0.1:", " itself and not on fugue's socket", "{fd}"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p := startPool(t, loop.release(0))
			p.deploy(release{command: c.command, version: "v1", workers: 2, ready: c.ready})
			text, err := p.fugue("reload", "web").CombinedOutput()
			var exit *exec.ExitError
			if !errors.As(err, &exit) || exit.ExitCode() != control.ExitUndone {
				t.Errorf("fugue reload: %v", err)
			}
			for _, want := range c.want {
				if !strings.Contains(string(text), want) {
					t.Errorf("no %q in:\n%s", want, text)
				}
			}
		})
	}
}
