package control

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func TestMasterThatDoesNotAnswer(t *testing.T) {
	root := shortDir(t)
	h := lockDir(t, filepath.Join(root, "web"))
	f := Finder{Roots: []string{root}, Patience: 50 * time.Millisecond}
	c, err := f.Dial("web")
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Status(context.Background())
	if exitOf(err) != ExitNoAnswer || !strings.Contains(err.Error(), "no control socket yet") {
		t.Errorf("before it listens: %v", err)
	}
	s, err := Listen(h, 0o660, -1)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close(true)
	guard, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	_, err = c.Reload(guard, ReloadRequest{})
	if exitOf(err) != ExitNoAnswer || !strings.Contains(err.Error(), "did not answer within 50ms") || guard.Err() != nil {
		t.Errorf("while it hangs: %v", err)
	}
}

// A call may be slow once the head of the answer is there.
func TestSlowCallsHaveNoLimit(t *testing.T) {
	events := make(chan Event)
	pool := &fakePool{events: func(context.Context) (<-chan Event, error) { return events, nil }}
	s := startPool(t, pool, Access{}, defaultLimits)
	s.finder.Patience = time.Second // in which the head must come, on a busy machine too
	st, err := s.client(t).Events(context.Background(), -1)
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	go func() {
		<-time.After(s.finder.Patience * 3 / 2) // the time that must pass is the point
		events <- Event{Kind: "ready"}
	}()
	if e, _, err := st.Next(); err != nil || e.Kind != "ready" {
		t.Errorf("got %+v, %v", e, err)
	}
}

func TestServerErrorsReachTheCaller(t *testing.T) {
	pool := &fakePool{
		reload: func(context.Context, ReloadRequest) (Ticket, error) {
			return Ticket{}, Errorf(ExitBusy, "a reload is under way")
		},
		scale: func(context.Context, ScaleRequest) (Ticket, error) { return Ticket{}, errors.New("no") },
	}
	c := startPool(t, pool, Access{}, defaultLimits).client(t)
	if _, err := c.Reload(context.Background(), ReloadRequest{}); exitOf(err) != ExitBusy || err.Error() != "a reload is under way" {
		t.Errorf("reload: %v", err)
	}
	if _, err := c.Scale(context.Background(), ScaleRequest{}); exitOf(err) != ExitFailed || err.Error() != "no" {
		t.Errorf("scale: %v", err)
	}
	if _, err := c.Change(context.Background(), 3); !errors.Is(err, ErrNotFound) {
		t.Errorf("change: %v", err)
	}
}

// TestFollowFindsTheVerdictAtASuccessor replaces the master twice under a
// caller: once while the change runs, once so that it ends unseen.
func TestFollowFindsTheVerdictAtASuccessor(t *testing.T) {
	verdict := Change{Number: 7, Kind: "reload", State: ChangeDone, Outcome: OutcomeOK, Message: "generation 2 serves"}
	first := make(chan Event, 1)
	first <- Event{Kind: "progress"}
	dead := &fakePool{reload: func(context.Context, ReloadRequest) (Ticket, error) {
		return Ticket{Change: 7, Events: first}, nil
	}}
	s := startPool(t, dead, Access{}, defaultLimits)
	c := s.client(t)
	st, err := c.Reload(context.Background(), ReloadRequest{})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	var done atomic.Bool
	second := make(chan Event)
	successor := &fakePool{
		change: func(_ context.Context, n int) (Change, error) {
			if done.Load() {
				return verdict, nil
			}
			return Change{Number: n, Kind: "reload", State: ChangeRunning}, nil
		},
		events: func(context.Context) (<-chan Event, error) {
			if done.Load() {
				return make(chan Event), nil
			}
			return second, nil
		},
	}
	var seen []string
	got, err := c.Follow(context.Background(), st, func(e Event, _ []byte) {
		seen = append(seen, e.Kind)
		switch len(seen) {
		case 1: // the first master goes, and another takes the socket over
			closeNow(s.server)
			if s.server, err = Serve(s.socket, successor, Access{}, "2"); err != nil {
				t.Error(err)
			}
			go func() { second <- Event{Kind: "exited"} }()
		case 2: // the second one goes too; the change ends in a third one
			done.Store(true)
			close(second)
		}
	})
	if err != nil || got.Message != verdict.Message {
		t.Errorf("verdict: %+v, %v", got, err)
	}
	if s := strings.Join(seen, " "); s != "progress exited change" {
		t.Errorf("seen: %s", s)
	}
	closeNow(s.server)
}

func TestFollowWhenThePoolIsGone(t *testing.T) {
	events := make(chan Event)
	ticket := func(context.Context) (Ticket, error) { return Ticket{Change: 1, Events: events}, nil }
	pool := &fakePool{stop: ticket, reload: func(ctx context.Context, _ ReloadRequest) (Ticket, error) { return ticket(ctx) }}
	s := startPool(t, pool, Access{}, defaultLimits)
	s.finder.Patience = time.Second
	c := s.client(t)
	stop, err := c.Stop(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	defer stop.Close()
	reload, err := c.Reload(context.Background(), ReloadRequest{})
	if err != nil {
		t.Fatal(err)
	}
	defer reload.Close()
	closeNow(s.server)
	s.hold.Release()
	if ch, err := c.Follow(context.Background(), stop, func(Event, []byte) {}); err != nil || ch.Outcome != OutcomeOK {
		t.Errorf("stop: %+v, %v", ch, err)
	}
	_, err = c.Follow(context.Background(), reload, func(Event, []byte) {})
	if err == nil || !strings.Contains(err.Error(), "went away before change 1 had a verdict") {
		t.Errorf("reload: %v", err)
	}
}

// systemd starts no successor as long as a command of the unit waits for it.
func TestFollowForAMasterThatDied(t *testing.T) {
	pool := &fakePool{reload: func(context.Context, ReloadRequest) (Ticket, error) {
		return Ticket{Change: 1, Events: make(chan Event)}, nil
	}}
	s := startPool(t, pool, Access{}, defaultLimits)
	s.finder.Patience = time.Hour
	c := s.client(t)
	c.ForMaster(c.Entry().PID + 1) // another unit's
	if c.gone != nil {
		t.Error("it takes another's master for its own")
	}
	c.ForMaster(c.Entry().PID)
	reload, err := c.Reload(context.Background(), ReloadRequest{})
	if err != nil {
		t.Fatal(err)
	}
	defer reload.Close()
	closeNow(s.server)
	s.hold.Release()
	_, err = c.Follow(context.Background(), reload, func(Event, []byte) {})
	if err == nil || !strings.Contains(err.Error(), "died before change 1 had a verdict") {
		t.Errorf("reload: %v", err)
	}
}

func TestFollowEndsWithItsContext(t *testing.T) {
	pool := &fakePool{reload: func(context.Context, ReloadRequest) (Ticket, error) {
		return Ticket{Change: 1, Events: make(chan Event)}, nil
	}}
	ctx, cancel := context.WithCancel(context.Background())
	c := startPool(t, pool, Access{}, defaultLimits).client(t)
	st, err := c.Reload(ctx, ReloadRequest{})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	cancel()
	if _, err := c.Follow(ctx, st, func(Event, []byte) {}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestGone(t *testing.T) {
	cmd := child(t, nil, "as-holder", filepath.Join(t.TempDir(), "web"))
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	c := &Client{entry: Entry{Name: "web", PID: cmd.Process.Pid}}
	left, leave := context.WithCancel(context.Background())
	lives := make(chan error, 1)
	go func() { lives <- c.Gone()(left) }()
	leave()
	if err := <-lives; !errors.Is(err, context.Canceled) {
		t.Errorf("of one that lives, and is not waited for any more: %v", err)
	}
	gone := c.Gone()
	in.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := gone(ctx); err != nil {
		t.Error(err)
	}
	cmd.Wait()
	if err := c.Gone()(ctx); err != nil {
		t.Errorf("of a process that is not there: %v", err)
	}
}

func TestDeniedByTheSocketsMode(t *testing.T) {
	c := newClient(Entry{Name: "web", Dir: "/x"}, time.Second)
	err := c.lost(&net.OpError{Op: "dial", Net: "unix", Err: os.NewSyscallError("connect", os.ErrPermission)})
	if exitOf(err) != ExitDenied {
		t.Error(err)
	}
}
