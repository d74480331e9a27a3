package servers_test

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// baseEnv has Debian's interpreters first, whatever a version manager has put
// into the tester's own environment.
func baseEnv(home string) []string {
	return []string{
		"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8", "HOME=" + home,
		"PYTHONDONTWRITEBYTECODE=1", // nothing is written beside the apps
		"NODE_PATH=/usr/share/nodejs:" + nodeModules(),
	}
}

// nodeModules has what .ci/run gets from npm.
func nodeModules() string {
	if dir := os.Getenv("FUGUE_NODE_MODULES"); dir != "" {
		return dir
	}
	return "/var/cache/fugue-test/node/node_modules"
}

// processes are those of this user that live and have the directory in their
// environment, as every worker and what it starts have.
func processes(t *testing.T, dir string) (pids []int) {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		env, _ := os.ReadFile(f) // gone meanwhile, or a zombie: no environment
		if !bytes.Contains(env, []byte("SERVERS_TEST="+dir+"\x00")) {
			continue
		}
		var pid int
		if _, err := fmt.Sscanf(f, "/proc/%d/", &pid); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

// output keeps what is written and closes seen when it has text in it.
type output struct {
	mu   sync.Mutex
	buf  bytes.Buffer
	text string
	seen chan struct{}
	done bool
}

var _ io.Writer = (*output)(nil)

// Write is the side of the child's copier.
func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.buf.Write(b)
	if !o.done && strings.Contains(o.buf.String(), o.text) {
		o.done = true
		close(o.seen)
	}
	return len(b), nil
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}
