package master

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sirupsen/logrus"

	"fugue/internal/control"
	"fugue/internal/proc"
)

// harness is a master in a world of fake processes and fake time.
type harness struct {
	*testing.T
	*world
	m         *Master
	strangers []int
	reign     *reign
	result    chan error
	socketDir string
	started   bool
	over      bool // Run has returned
	err       error
	asked     []*asked
	ctx       context.Context // of callers that wait
	leave     context.CancelFunc

	log   *logrus.Logger
	begun time.Time

	logMu sync.Mutex
	lines []string
}

// play runs a scene in a bubble of fake time: a master, made but not started.
// What must be true at the end of every scene is checked after it.
func play(t *testing.T, file string, scene func(h *harness)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, file)
		scene(h)
		h.close()
	})
}

// started is play with a master that is up.
func started(t *testing.T, file string, scene func(h *harness)) {
	t.Helper()
	play(t, file, func(h *harness) {
		h.start()
		h.pass(10 * time.Second)
		h.state(control.StateRunning)
		h.forget()
		scene(h)
	})
}

func newHarness(t *testing.T, file string) *harness {
	w := &world{
		file: file, release: "v1", manners: map[string]manner{}, deploys: map[string]manner{},
		processes: map[int]*process{}, stored: map[string]int{}, sleeps: make(chan time.Duration, 1), lastPID: 5_000_000, // more than a real machine has
	}
	w.job = func(context.Context) (string, error) { return "", nil }
	h := &harness{T: t, world: w, result: make(chan error, 1)}
	h.ctx, h.leave = context.WithCancel(context.Background())
	log := quiet()
	log.AddHook(h)
	h.log, h.begun = log, time.Now()
	h.another("")
	t.Cleanup(h.kill) // in the bubble, after a scene that failed
	return h
}

// Levels and Fire make the harness a logrus.Hook.
func (h *harness) Levels() []logrus.Level { return logrus.AllLevels }

func (h *harness) Fire(e *logrus.Entry) error {
	h.logMu.Lock()
	defer h.logMu.Unlock()
	h.lines = append(h.lines, e.Message)
	h.hasFields(e)
	return nil
}

func (h *harness) kill() {
	h.leave()
	if h.started && !h.over {
		h.signal(syscall.SIGQUIT)
		h.signal(syscall.SIGQUIT)
		<-h.result
	}
	<-time.After(jobTimeout + tailTimeout) // no job beside the loop lasts longer
}

func (h *harness) start() {
	h.started = true
	h.begin(Inheritance{Strangers: h.strangers})
	synctest.Wait()
}

// pass lets fake time go by, and then everything come to rest.
func (h *harness) pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

func (h *harness) signal(sig syscall.Signal) { h.signalFrom(sig, true) }

func (h *harness) signalFrom(sig syscall.Signal, user bool) {
	h.m.report(pending{func() []proc.Signal { return []proc.Signal{{Signal: sig, FromUser: user}} }})
	synctest.Wait()
}

// with changes the world.
func (w *world) with(change func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	change()
}

// storedNow is what is in the fd store.
func (h *harness) storedNow() map[string]int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return maps.Clone(h.stored)
}

// deploy makes what the next reload finds.
func (h *harness) deploy(release string, how manner) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.release, h.manners[release] = release, how
}

// write changes the configuration.
func (h *harness) write(file string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.file = file
}

// die ends a worker from outside.
func (h *harness) die(p *process, how proc.Exit) {
	p.dies <- how
	synctest.Wait()
}

// wait waits until Run returns.
func (h *harness) wait() error {
	h.Helper()
	if h.over {
		return h.err
	}
	select {
	case h.err = <-h.result:
	case <-time.After(2 * time.Hour):
		h.Fatalf("the master does not end; %s", h.tale())
	}
	h.over = true
	synctest.Wait()
	return h.err
}

// close ends the scene and checks what every scene promises.
func (h *harness) close() {
	h.Helper()
	if !h.over {
		h.signal(syscall.SIGQUIT)
		if err := h.wait(); err != nil {
			h.Errorf("Run: %v", err)
		}
	}
	h.leave()
	for _, a := range h.asked {
		h.verdict(a)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.rehearsals > 0 {
		h.Errorf("a rehearsal is left")
	}
	if h.away {
		h.Errorf("the master ended without callers and workers, half way to an exec")
	}
	if n := len(h.processes); n > 0 {
		h.Errorf("%d processes are left; %s", n, h.tale())
	}
	h.conversation()
	for _, b := range h.broken {
		h.Errorf("a promise was broken: %s; %s", b, h.tale())
	}
}

// conversation checks what systemd was told: RELOADING=1 has its time and is
// followed by READY=1, and nothing else has two lines.
func (h *harness) conversation() {
	h.Helper()
	reloading := false
	for _, m := range h.told {
		switch {
		case strings.HasPrefix(m.text, "RELOADING=1\nMONOTONIC_USEC="):
			if reloading {
				h.Errorf("RELOADING=1 twice without READY=1")
			}
			reloading = true
		case strings.Contains(m.text, "\n"):
			h.Errorf("systemd was told %q", m.text)
		case m.text == "READY=1", m.text == "STOPPING=1":
			reloading = false
		}
	}
	if reloading {
		h.Errorf("RELOADING=1 was not followed by READY=1")
	}
}

// exitOf is the exit code that an error stands for.
func exitOf(err error) int {
	if e, ok := errors.AsType[*StartError](err); ok {
		return e.Exit
	}
	if e, ok := errors.AsType[*control.Error](err); ok {
		return e.Exit
	}
	return -1
}

func repeat(n int, what string) string { return fmt.Sprintf("workers = %d\n%s", n, what) }

// quiet is a log that nobody reads.
func quiet() *logrus.Logger {
	log := logrus.New()
	log.SetOutput(io.Discard)
	return log
}
