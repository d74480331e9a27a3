package cli_test

import (
	"os/exec"
	"strings"
	"testing"
)

// What a worker says of itself is one printable line by the time that anybody
// sees it, on a terminal too.
func TestStatusOfAWorkerIsHarmless(t *testing.T) {
	p := start(t, "-notify", "STATUS=\x1b[31mred\x1b[0m \x1b]0;title\x07\ttext\r\x1b[2Kgone\x01\u009b2J\u202e end\nX=1")
	const clean = "red text gone\ufffd\ufffd2J\ufffd end"
	for _, w := range p.status().Workers {
		if w.Status != clean {
			t.Errorf("worker %d: %q, want %q", w.Slot, w.Status, clean)
		}
	}
	status := p.fugue("status", "web")
	tty := exec.Command("script", "-qec", strings.Join(status.Args, " "), "/dev/null")
	tty.Env = append(status.Env, "TERM=xterm", "SHELL=/bin/sh", "LANG=C.UTF-8")
	for name, cmd := range map[string]*exec.Cmd{"a pipe": status, "a terminal": tty} {
		code, out, errs := ask(t, cmd)
		if code != 0 || strings.Count(out, "  red text gone") != 2 {
			t.Errorf("%s: exit %d\n%s%s", name, code, out, errs)
		}
		for _, bad := range []string{"\x1b[31m", "\x1b]", "\x1b[2K", "\x07", "\u009b", "\u202e", "title"} {
			if strings.Contains(out, bad) {
				t.Errorf("%s: %q in %q", name, bad, out)
			}
		}
	}
}
