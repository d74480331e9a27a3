package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"
	"testing"
)

// Only who is not root is told that root could ask, and nobody where no systemd is.
func TestUnasked(t *testing.T) {
	for _, c := range []struct {
		err       error
		euid      int
		want, not string
	}{
		{syscall.ENOENT, 0, "no systemd runs here", "as root"},
		{syscall.ENOENT, 1, "no systemd runs here", "as root"},
		{syscall.EACCES, 1, "as root it can be asked", "no systemd"},
		{syscall.EACCES, 0, "permission denied", "as root"},
	} {
		err := unasked(fmt.Errorf("connect to it: %w", &fs.PathError{Op: "dial", Path: "/run/x", Err: c.err}), c.euid)
		if s := err.Error(); !errors.Is(err, c.err) || !strings.Contains(s, c.want) || strings.Contains(s, c.not) {
			t.Errorf("%v as %d: %s", c.err, c.euid, s)
		}
	}
}
