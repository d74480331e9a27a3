package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// impatient are limits under which a test need not wait long for them.
var impatient = limits{conns: 64, body: 64 << 10, header: 16 << 10, send: 300 * time.Millisecond}

const get = "GET /status HTTP/1.1\r\nHost: f\r\nConnection: close\r\n\r\n"

func post(path, body string) string {
	return fmt.Sprintf("POST %s HTTP/1.1\r\nHost: f\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s", path, len(body), body)
}

func TestCurlIsAFullClient(t *testing.T) {
	pool := &fakePool{
		reload: func(_ context.Context, r ReloadRequest) (Ticket, error) {
			if r != (ReloadRequest{Now: true}) {
				return Ticket{}, fmt.Errorf("got %+v", r)
			}
			ch := make(chan Event, 2)
			ch <- Event{Kind: "progress", Progress: &Progress{Phase: "canary"}}
			ch <- Event{Kind: "change", Change: &Change{Number: 3, State: ChangeDone, Outcome: OutcomeOK, Message: "generation 2 serves"}}
			close(ch)
			return Ticket{Change: 3, Events: ch}, nil
		},
	}
	s := startPool(t, pool, Access{}, defaultLimits)
	curl := func(args ...string) string {
		out, err := exec.Command("curl", append([]string{"-sS", "--max-time", "20", "--unix-socket", s.socket.Path()}, args...)...).CombinedOutput()
		if err != nil {
			t.Errorf("curl %v: %v: %s", args, err, out)
		}
		return string(out)
	}
	var st map[string]any
	if err := json.Unmarshal([]byte(curl("http://f/status")), &st); err != nil || st["pool"] != "web" {
		t.Errorf("status: %v, %v", st, err)
	}
	if l, ok := st["workers"].([]any); !ok || len(l) != 0 {
		t.Errorf("workers of an empty pool: %v, want a list", st["workers"])
	}
	if got := curl("http://f/version"); got != `{"version":"1.2.3","pool":"web"}`+"\n" {
		t.Errorf("version: %s", got)
	}
	lines := strings.Split(strings.TrimSpace(curl("-d", `{"now":true}`, "http://f/reload")), "\n")
	if len(lines) != 2 || !strings.Contains(lines[1], `"message":"generation 2 serves"`) {
		t.Errorf("reload: %q", lines)
	}
	if got := curl("-w", "%{http_code}", "http://f/changes/9"); got != `{"error":"change 9: no such change: the last 16 are kept","exit":1}`+"\n404" {
		t.Errorf("change: %s", got)
	}
	if got := curl("-X", "POST", "http://f/status"); !strings.Contains(got, `no such call: POST \"/status\"; there are GET /status`) {
		t.Errorf("wrong method: %s", got)
	}
}

func TestRefusedRequests(t *testing.T) {
	pool := &fakePool{reload: func(context.Context, ReloadRequest) (Ticket, error) {
		return Ticket{}, Errorf(ExitBusy, "a reload is under way")
	}}
	s := startPool(t, pool, Access{}, defaultLimits)
	for _, c := range []struct {
		name, request string
		status        int
		want          string
	}{
		{"busy", post("/reload", ""), 409, `{"error":"a reload is under way","exit":75}`},
		{"unknown key", post("/reload", `{"noww":true}`), 400, `unknown field \"noww\"","exit":2`},
		{"two values", post("/reload", `{} {}`), 400, "more than one value"},
		{"no number", post("/scale", `{}`), 400, "must give a number"},
		{"no job", post("/job", `{}`), 400, "must say what becomes of the pool"},
		{"no JSON", post("/stop", "now"), 400, "invalid character"},
		{"a number of no change", "GET /changes/x HTTP/1.1\r\nHost: f\r\nConnection: close\r\n\r\n", 400, `not \"x\"`},
		{"too large", post("/reload", `{"now":`+strings.Repeat(" ", 64<<10)+`true}`), 413, "larger than 65536 bytes"},
		{"head too large", "GET /status HTTP/1.1\r\nX: " + strings.Repeat("x", 64<<10), 431, ""},
		{"garbage", "\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", 400, ""},
		{"no host", "GET /status HTTP/1.1\r\n\r\n", 400, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			status, body := exchange(t, s.connect(t), c.request)
			if status != c.status || !strings.Contains(body, c.want) {
				t.Errorf("got %d %s, want %d %s", status, body, c.status, c.want)
			}
		})
	}
	if status, _ := exchange(t, s.connect(t), get); status != 200 {
		t.Errorf("afterwards: %d", status)
	}
}

// Clients that stay in the middle of a request are cut, and cost the others
// nothing meanwhile.
func TestHangingClientsAreCut(t *testing.T) {
	s := startPool(t, &fakePool{}, Access{}, impatient)
	var hanging []*net.UnixConn
	for _, request := range []string{"", "GET", "GET /status HTTP/1.1\r\nHost: f\r\n", "POST /reload HTTP/1.1\r\nHost: f\r\nContent-Length: 10\r\n\r\n{"} {
		c := s.connect(t)
		c.Write([]byte(request))
		hanging = append(hanging, c)
	}
	if status, _ := exchange(t, s.connect(t), get); status != 200 {
		t.Errorf("beside them: %d", status)
	}
	for i, c := range hanging {
		if _, err := io.Copy(io.Discard, c); err != nil {
			t.Errorf("hanging client %d: %v", i, err)
		}
	}
}

func TestConnectionsAreBounded(t *testing.T) {
	s := startPool(t, &fakePool{}, Access{}, defaultLimits)
	var inside []*net.UnixConn
	for range 64 {
		inside = append(inside, s.connect(t))
	}
	for range 6 {
		status, body := exchange(t, s.connect(t), get)
		if status != 503 || !strings.Contains(body, `"exit":75`) {
			t.Errorf("beyond the limit: %d %s", status, body)
		}
	}
	// Those inside are served, and make room when they leave.
	for _, c := range inside {
		if status, _ := exchange(t, c, get); status != 200 {
			t.Fatalf("inside: %d", status)
		}
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Fatalf("inside: %v", err)
		}
	}
	if status, _ := exchange(t, s.connect(t), get); status != 200 {
		t.Errorf("afterwards: %d", status)
	}
}

// However many come at once beyond the limit, each gets its answer, also those
// who never send a request.
func TestRefusalsDoNotHang(t *testing.T) {
	lim := impatient
	lim.conns = 1
	s := startPool(t, &fakePool{}, Access{}, lim)
	s.connect(t)
	var conns []*net.UnixConn
	for range 69 {
		conns = append(conns, s.connect(t))
	}
	for i, c := range conns {
		if status, _ := answerOf(t, c); status != 503 {
			t.Errorf("connection %d: %d", i, status)
		}
	}
}

func TestOtherUsers(t *testing.T) {
	nobody := &syscall.Credential{Uid: 65534, Gid: 65534, Groups: []uint32{12, 13}}
	many := &syscall.Credential{Uid: 65534, Gid: 65534}
	for g := range uint32(300) {
		many.Groups = append(many.Groups, 1000+g)
	}
	reload := func(context.Context, ReloadRequest) (Ticket, error) { return Ticket{}, errors.New("reloaded") }
	for _, c := range []struct {
		name   string
		cred   *syscall.Credential
		access Access
		want   string
	}{
		{"nobody", nobody, Access{}, `403 {"error":"uid 65534 may not control this pool","exit":77}
403 {"error":"uid 65534 may not control this pool","exit":77}`},
		{"reader", nobody, Access{Readers: Principals{GIDs: []int{13}}}, `200 {"pool":"web"
403 {"error":"uid 65534 may look but not change anything","exit":77}`},
		{"everyone reads", nobody, Access{Readers: Principals{Everyone: true}}, `200 {"pool":"web"
403 {"error":"uid 65534 may look but not change anything","exit":77}`},
		{"by uid", nobody, Access{Writers: Principals{UIDs: []int{65534}}}, `200 {"pool":"web"
500 {"error":"reloaded","exit":1}`},
		{"by primary group", nobody, Access{Writers: Principals{GIDs: []int{65534}}}, `200 {"pool":"web"
500 {"error":"reloaded","exit":1}`},
		{"by another group", nobody, Access{Writers: Principals{GIDs: []int{12}}}, `200 {"pool":"web"
500 {"error":"reloaded","exit":1}`},
		{"by the last of 300 groups", many, Access{Writers: Principals{GIDs: []int{1299}}}, `200 {"pool":"web"
500 {"error":"reloaded","exit":1}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := startPool(t, &fakePool{reload: reload}, c.access, defaultLimits)
			out, err := child(t, c.cred, "as-peer", s.socket.Path(), "GET /status", "POST /reload").Output()
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for line := range strings.Lines(string(out)) {
				line, _, _ = strings.Cut(strings.TrimSpace(line), ",\"version\"")
				got = append(got, line)
			}
			if diff := cmp.Diff(strings.Split(c.want, "\n"), got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// Half of the room is not for those who may only look: an operator gets in.
func TestReadersCannotKeepAnOperatorOut(t *testing.T) {
	lim := impatient
	lim.conns, lim.send = 4, 20*time.Second
	d := &door{limits: lim}
	var readers int
	for range 10 {
		if d.enter(nil, reading, nil) != nil {
			readers++
		}
	}
	if readers != 2 {
		t.Errorf("%d readers inside", readers)
	}
	if d.enter(nil, everything, nil) == nil {
		t.Error("no room for an operator")
	}
}

func TestAWorkerIsRefusedWhateverItsUID(t *testing.T) {
	access := Access{IsWorker: func(pid int) (bool, error) { return pid != os.Getpid(), nil }}
	s := startPool(t, &fakePool{}, access, defaultLimits)
	cmd := child(t, nil, "as-peer", s.socket.Path(), "GET /status", "POST /stop")
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf("403 {\"error\":\"pid %d is a worker of this pool: workers may not control it\",\"exit\":77}\n", cmd.Process.Pid)
	if string(out) != want+want {
		t.Errorf("got %s", out)
	}
	if status, _ := exchange(t, s.connect(t), get); status != 200 {
		t.Errorf("the master's own: %d", status)
	}
}

// A master that has ended no longer knows its workers. Nobody is let in then,
// and nobody is called one.
func TestNobodyIsLetInAtTheEnd(t *testing.T) {
	access := Access{IsWorker: func(int) (bool, error) { return true, errors.New("the pool has stopped") }}
	s := startPool(t, &fakePool{}, access, defaultLimits)
	status, body := exchange(t, s.connect(t), get)
	if want := fmt.Sprintf(`{"error":"the master is ending: the pool has stopped","exit":%d}`, ExitNoAnswer); status != http.StatusServiceUnavailable || strings.TrimSpace(body) != want {
		t.Errorf("got %d %s", status, body)
	}
}

// A stream lasts longer than a request may take to be sent, and its caller's
// leaving is noticed at once.
func TestStreamOutlivesTheDeadlineOfSending(t *testing.T) {
	events, left := make(chan Event), make(chan error, 1)
	pool := &fakePool{scale: func(ctx context.Context, r ScaleRequest) (Ticket, error) {
		context.AfterFunc(ctx, func() { left <- ctx.Err() })
		return Ticket{Change: r.N, Events: events}, nil
	}}
	s := startPool(t, pool, Access{}, impatient)
	st, err := s.client(t).Scale(context.Background(), ScaleRequest{N: 5})
	if err != nil || st.Change != 5 {
		t.Fatal(st, err)
	}
	select {
	case err := <-left:
		t.Fatalf("the stream was cut: %v", err)
	case <-time.After(3 * impatient.send): // the time that must pass is the point
	}
	go func() { events <- Event{Kind: "ready", Slot: 2} }()
	if e, line, err := st.Next(); err != nil || e.Slot != 2 || !json.Valid(line) {
		t.Errorf("got %+v, %s, %v", e, line, err)
	}
	st.Close()
	select {
	case <-left:
	case <-time.After(20 * time.Second):
		t.Error("the caller's leaving was not noticed")
	}
}

func TestCloseLetsTheVerdictOut(t *testing.T) {
	events := make(chan Event, 1)
	pool := &fakePool{stop: func(context.Context) (Ticket, error) { return Ticket{Change: 1, Events: events}, nil }}
	s := startPool(t, pool, Access{}, defaultLimits)
	c := s.client(t)
	st, err := c.Stop(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		s.server.Close(ctx)
	}()
	events <- Event{Change: &Change{Number: 1, State: ChangeDone, Outcome: OutcomeOK}}
	close(events)
	ch, err := c.Follow(context.Background(), st, func(Event, []byte) {})
	if err != nil || ch.Outcome != OutcomeOK {
		t.Errorf("verdict: %+v, %v", ch, err)
	}
	<-closed
}

func TestSchemaIsStable(t *testing.T) {
	when := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	s := Status{
		Pool: "web", Version: "1", PID: 2, State: StateRunning, Since: when,
		Workers: []Worker{{Slot: 1, State: WorkerReady, Since: when, CPU: Micros(1500 * time.Millisecond)}},
		Change:  &Change{Number: 1, Kind: "start", State: ChangeRunning, Started: when},
	}
	got, err := json.MarshalIndent(s.whole(), "", " ")
	if err != nil {
		t.Fatal(err)
	}
	const golden = "testdata/status.json"
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.TrimSpace(string(want)), string(got)); diff != "" {
		t.Errorf("keys are only ever added: %s", diff)
	}
	var back Status
	if err := json.Unmarshal(got, &back); err != nil || time.Duration(back.Workers[0].CPU) != 1500*time.Millisecond {
		t.Errorf("read back: %+v, %v", back, err)
	}
}
