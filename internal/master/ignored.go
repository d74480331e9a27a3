package master

import (
	"strings"

	"fugue/internal/config"
)

// ignored explains a worker that did not take fugue's sockets: it tried to bind
// an address that fugue holds, or waits at another one. Empty for all others.
func (b *obituary) ignored(cfg *config.Config) string {
	switch {
	case strings.HasPrefix(b.note, "listens on "):
		return ": it " + b.note + "; " + cfg.SocketAdvice()
	case b.boundItself():
		return ": it tried to bind an address that is in use, and not to take fugue's socket; " + cfg.SocketAdvice()
	}
	return ""
}

// boundItself looks for the error of bind(2) in the worker's last words, as
// most languages spell it.
func (b *obituary) boundItself() bool {
	for _, line := range b.stderr {
		line = strings.ToLower(line)
		if strings.Contains(line, "eaddrinuse") || strings.Contains(line, "address already in use") || strings.Contains(line, "address in use") {
			return true
		}
	}
	return false
}
