package cli

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"fugue/internal/control"
)

// The test binary is fugue for the scripts, with pools in $FUGUE_TEST_RUN and a
// master that only tells what it was asked.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"fugue": func() {
		os.Exit(Main(os.Args[1:], Deps{
			Version: "0.1.0",
			Finder: &control.Finder{
				Roots:    []string{os.Getenv("FUGUE_TEST_RUN")},
				Etc:      os.Getenv("FUGUE_TEST_ETC"),
				Patience: patience(os.Getenv("FUGUE_TEST_PATIENCE")),
			},
			Run: func(_ context.Context, o RunOptions) error {
				if fault := os.Getenv("FUGUE_TEST_FAULT"); fault != "" {
					return control.Errorf(control.ExitDenied, "%s", fault)
				}
				b, err := json.Marshal(o)
				fmt.Printf("%s\n", b)
				return err
			},
		}))
	}})
}

// patience is the default, but where a script says otherwise.
func patience(s string) time.Duration {
	d, _ := time.ParseDuration(s)
	return d
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(e *testscript.Env) error {
			e.Setenv("FUGUE_TEST_RUN", filepath.Join(e.WorkDir, "run"))
			e.Setenv("FUGUE_TEST_ETC", filepath.Join(e.WorkDir, "etc"))
			e.Setenv("GORACE", "atexit_sleep_ms=0")
			return os.Mkdir(filepath.Join(e.WorkDir, "run"), 0o755)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"pool": poolCommand, "hung": hungCommand, "await": awaitCommand,
		},
		RequireExplicitExec: true,
		UpdateScripts:       os.Getenv("UPDATE") != "",
	})
}

// poolCommand is "pool NAME FILE": a running pool that answers as the JSON file
// says, and appends what it is asked to asked.NAME.
func poolCommand(ts *testscript.TestScript, _ bool, args []string) {
	p := &fakePool{asked: ts.MkAbs("asked." + args[0]), answers: map[string]answer{}}
	var said struct {
		Status  control.Status
		Answers map[string]answer
	}
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(args[1])), &said))
	p.status, p.answers = said.Status, said.Answers
	s, h := listen(ts, args[0])
	p.hold = h
	server, err := control.Serve(s, p, control.Access{}, "0.1.0")
	ts.Check(err)
	ts.Defer(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		server.Close(ctx)
		s.Close(true)
	})
}

// hungCommand is "hung NAME": a pool whose master does not answer.
func hungCommand(ts *testscript.TestScript, _ bool, args []string) {
	s, h := listen(ts, args[0])
	ts.Defer(func() { s.Close(true); h.Release() })
}

func listen(ts *testscript.TestScript, name string) (*control.Socket, *control.Hold) {
	dir := ts.MkAbs("run/" + name)
	h, err := control.Lock(dir)
	ts.Check(err)
	// A PID beyond all PIDs, as of a master that ends when it says so.
	ts.Check(os.WriteFile(filepath.Join(dir, "lock"), []byte("4194304\n"), 0o644))
	s, err := control.Listen(h, 0o600, -1)
	ts.Check(err)
	return s, h
}

// awaitCommand is "await FIFO N": until N lines came out of it, which are then
// in FIFO.lines.
func awaitCommand(ts *testscript.TestScript, _ bool, args []string) {
	n, err := strconv.Atoi(args[1])
	ts.Check(err)
	f, err := os.Open(ts.MkAbs(args[0]))
	ts.Check(err)
	defer f.Close()
	var lines string
	for r := bufio.NewReader(f); n > 0; n-- {
		line, err := r.ReadString('\n')
		ts.Check(err)
		lines += line
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]+".lines"), []byte(lines), 0o644))
}

// answer is what a fakePool does when it is asked for something.
type answer struct {
	Error  string
	Exit   int
	Change int
	Events []control.Event
	Hold   bool // does not end after the events
}

// fakePool is a pool that follows a script.
type fakePool struct {
	status  control.Status
	answers map[string]answer
	asked   string
	hold    *control.Hold
}

func (p *fakePool) answer(ctx context.Context, what string, request any) (control.Ticket, error) {
	b, _ := json.Marshal(request)
	f, err := os.OpenFile(p.asked, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return control.Ticket{}, err
	}
	fmt.Fprintf(f, "%s %s\n", what, b)
	f.Close()
	a := p.answers[what]
	if a.Error != "" {
		return control.Ticket{}, control.Errorf(a.Exit, "%s", a.Error)
	}
	events := make(chan control.Event)
	go func() {
		defer close(events)
		for _, e := range a.Events {
			select {
			case events <- e:
			case <-ctx.Done():
				return
			}
		}
		if a.Hold {
			<-ctx.Done()
		}
	}()
	return control.Ticket{Change: a.Change, Events: events}, nil
}

func (p *fakePool) Status(context.Context) (control.Status, error) { return p.status, nil }

func (p *fakePool) Reload(ctx context.Context, r control.ReloadRequest) (control.Ticket, error) {
	return p.answer(ctx, "reload", r)
}

func (p *fakePool) Cancel(ctx context.Context) (control.Ticket, error) {
	return p.answer(ctx, "cancel", nil)
}

func (p *fakePool) Upgrade(ctx context.Context) (control.Ticket, error) {
	return p.answer(ctx, "upgrade", nil)
}

func (p *fakePool) Recycle(ctx context.Context, r control.RecycleRequest) (control.Ticket, error) {
	return p.Scale(ctx, control.ScaleRequest{N: len(r.Slots), Relative: true})
}

func (p *fakePool) Scale(ctx context.Context, r control.ScaleRequest) (control.Ticket, error) {
	return p.answer(ctx, "scale", r)
}

// Stop answers, and lets go of the pool as a master does that ends.
func (p *fakePool) Stop(ctx context.Context) (control.Ticket, error) {
	t, err := p.answer(ctx, "stop", nil)
	if err == nil {
		p.hold.Release()
	}
	return t, err
}

func (p *fakePool) Job(ctx context.Context, r control.JobRequest) (control.Ticket, error) {
	return p.answer(ctx, "job", r)
}

func (p *fakePool) Change(_ context.Context, n int) (control.Change, error) {
	return control.Change{}, control.ErrNotFound
}

func (p *fakePool) Events(ctx context.Context, _ int) (control.Ticket, error) {
	if !p.answers["events"].Hold { // it ends with what it has to say
		p.hold.Release()
	}
	return p.answer(ctx, "events", nil)
}
