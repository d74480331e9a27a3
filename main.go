// Command fugue keeps a pool of worker processes behind one set of listening
// sockets and rolls it from one version to the next without losing a
// connection.
package main

import (
	"os"
	"runtime"

	"fugue/internal/cli"
	"fugue/internal/handover"
)

// version is set by the build: -ldflags "-X main.version=1.2.3".
var version = "devel"

// The main goroutine, which becomes the master's loop, stays on the main thread:
// the kernel sends a worker its death signal when the thread that forked it
// ends, and an exec by another thread ends them all.
func init() { runtime.LockOSThread() }

func main() {
	// The guard and the launcher of a rehearsal are this image too.
	if code, ours := handover.Main(); ours {
		os.Exit(code)
	}
	if code, ours := cli.Generator(os.Args); ours {
		os.Exit(code)
	}
	os.Exit(cli.Main(os.Args[1:], cli.Deps{Version: version, Born: cli.Born, Run: cli.Run(version), Leftovers: cli.Leftovers}))
}
