package cli_test

import (
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const (
	floodEnv  = "FUGUE_CLI_FLOOD" // path of the socket to flood
	floodSize = 10_000            // datagrams
)

// Strangers fill the inbox as fast as it takes them, for longer than a worker may
// be silent: no ping is late for that, no word of a worker lost, and each of the
// strangers' is counted.
func TestFloodHidesNoPing(t *testing.T) {
	t.Parallel()
	const timeout = 4 * time.Second
	p := newPool(t)
	p.as(0)
	p.begin(slices.Insert(p.words(), 1, "--user", "nobody", "--watchdog.timeout", timeout.String())...)
	before, resident := p.status(), p.resident()
	inbox := variable(t, before.Workers[0].PID, "NOTIFY_SOCKET")

	// One of the workers' own user, which is no worker, and one of root.
	sent := make(chan int)
	begun := time.Now()
	for _, uid := range []uint32{nobody, 0} {
		go func() {
			n := 0
			for time.Since(begun) < 2*timeout { // it is time itself that has to pass
				if err := flooder(inbox, uid).Run(); err != nil {
					t.Errorf("flood as user %d: %v", uid, err)
					break
				}
				n += floodSize
			}
			sent <- n
		}()
	}
	// Workers speak meanwhile, and are heard.
	words := 0
	for time.Since(begun) < 2*timeout {
		words++
		word := fmt.Sprintf("word %d", words)
		slot, err := p.postTo("/notify", url.Values{"state": {"STATUS=" + word}})
		if err != nil {
			t.Fatal(err)
		}
		for late := time.Now().Add(guard); p.status().Workers[slot-1].Status != word; {
			if time.Now().After(late) {
				t.Fatalf("worker %d said %q and is not heard", slot, word)
			}
		}
	}
	all := <-sent + <-sent
	t.Logf("%d datagrams of strangers and %d words of workers in %v", all, words, time.Since(begun).Round(time.Millisecond))
	p.untouched(before)
	now := p.status()
	for end := time.Now().Add(guard); now.Strangers < before.Strangers+all && time.Now().Before(end); {
		now = p.status()
	}
	if now.Strangers != before.Strangers+all {
		t.Errorf("%d of strangers were counted, and %d sent", now.Strangers-before.Strangers, all)
	}
	for _, w := range now.Workers {
		if w.Status == "evil" {
			t.Errorf("a stranger speaks for worker %d", w.Slot)
		}
		if w.Restarts > 0 {
			t.Errorf("worker %d was restarted: %+v", w.Slot, w)
		}
	}
	if now := p.resident(); now > resident+floodMemory {
		t.Errorf("the master has %d KiB resident, and had %d", now, resident)
	}
}

// floodMemory is what a garbage collector may keep of what it had to do in the
// meantime, in KiB. A queue of the datagrams would be more.
const floodMemory = 16 << 10

// resident is the memory of the master itself, in KiB.
func (p *pool) resident() int {
	p.t.Helper()
	for line := range strings.Lines(read(p.t, p.run.Process.Pid, "status")) {
		if words := strings.Fields(line); words[0] == "RssAnon:" {
			return number(p.t, words[1])
		}
	}
	p.t.Fatal("the master has no RssAnon")
	return 0
}

func flooder(inbox string, uid uint32) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestFlooder$")
	cmd.Env = append(os.Environ(), floodEnv+"="+inbox)
	cmd.Stdout, cmd.Stderr = io.Discard, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}, Pdeathsig: syscall.SIGKILL}
	return cmd
}

// TestFlooder is no test of its own: see flooder. Its socket blocks, as that of
// sd_notify(3) does.
func TestFlooder(t *testing.T) {
	inbox := os.Getenv(floodEnv)
	if inbox == "" {
		return
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	for n := range floodSize {
		text := []byte("WATCHDOG=trigger\nSTATUS=evil\nSTOPPING=1\nX=" + strconv.Itoa(n))
		for {
			err := unix.Sendto(fd, text, 0, &unix.SockaddrUnix{Name: inbox})
			if err == unix.EINTR {
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			break
		}
	}
}
