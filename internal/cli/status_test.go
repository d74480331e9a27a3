package cli

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"fugue/internal/control"
)

var noon = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

func ago(d time.Duration) time.Time { return noon.Add(-d) }

// pages are pools as people may meet them; testdata/status has how they look.
var pages = map[string]control.Status{
	"running": {
		Pool: "web", Version: "0.1.0", PID: 812, Unit: "web.service", Config: "/etc/fugue/web.toml",
		State: control.StateRunning, Generation: 7, Wanted: 4, Ready: 4, Since: ago(3 * time.Minute),
		Workers: []control.Worker{
			{Slot: 1, PID: 4101, Generation: 7, State: control.WorkerAvailable, Since: ago(4 * time.Minute), RSS: 81 << 20, CPU: control.Micros(1200 * time.Millisecond), Status: "Puma 5.6.5: cluster: 1/1, worker: { last_status: { backlog: 0, running: 5 } }"},
			{Slot: 2, PID: 4102, Generation: 7, State: control.WorkerAvailable, Since: ago(4 * time.Minute), RSS: 81 << 20, CPU: control.Micros(time.Second), Restarts: 2, LastExit: "killed by SIGSEGV (core dumped)"},
			{Slot: 3, PID: 4103, Generation: 7, State: control.WorkerReady, Since: ago(400 * time.Millisecond), RSS: 2 << 20},
			{Slot: 4, PID: 4104, Generation: 7, State: control.WorkerAvailable, Since: ago(4 * time.Minute), RSS: 80 << 20, CPU: control.Micros(21 * time.Minute)},
		},
		Listeners: []control.Listener{
			{Name: "http", Address: "0.0.0.0:8080", Network: "tcp", Origin: "systemd", FD: 3, Queue: 0, Limit: 4096},
			{Name: "admin", Address: "/run/web/admin.sock", Network: "unix", Origin: "own", FD: 4, Queue: 12, Limit: 128},
		},
		Change: &control.Change{Number: 6, Kind: "reload", State: control.ChangeDone, Outcome: control.OutcomeOK, Message: "generation 7 serves (4 workers, 2.3s)", Ended: ago(3 * time.Minute)},
	},
	"degraded": {
		Pool: "api", Version: "0.1.0", PID: 99, State: control.StateDegraded, Generation: 2, Wanted: 2, Ready: 1, Since: ago(26 * time.Hour),
		Reason: "1 of 2 workers ready: worker 2 (pid 4000021) of generation 2 exited with status 1 before it was ready",
		Workers: []control.Worker{
			{Slot: 1, PID: 4000001, Generation: 2, State: control.WorkerAvailable, Since: ago(50 * time.Hour), RSS: 3 << 30, CPU: control.Micros(30 * time.Hour), Restarts: 12345, Status: "日本語のとても長い状態の文字列です、端末の幅を越えます", Note: "said READY=1 after it was seen listening"},
			{Slot: 2, Generation: 2, State: control.WorkerStarting, Restarts: 9, LastExit: "exit status 1", Note: "said READY=1 after it was seen listening"},
		},
		Listeners: []control.Listener{{Name: "http", Address: "/run/" + strings.Repeat("a-long-directory/", 5) + "s", Network: "unix", Origin: "store", FD: 3, Queue: 3, Limit: 128, Note: "the file is gone from its path"}},
		Change: &control.Change{Number: 3, Kind: "reload", State: control.ChangeDone, Outcome: control.OutcomeUndone, Exit: 5,
			Message: "reload undone: worker 3 (pid 123) of generation 3 exited with status 1 before it was ready; generation 2 serves", Ended: ago(time.Hour),
			Details: []string{"Traceback (most recent call last):", "  File \"/srv/api/releases/20260501/lib/python3/site-packages/api/app.py\", line 12, in <module>", "\x1b[31mImportError"}},
		Notes:     []string{"scaled to 2; the configuration says 4", "this kernel does not tell how long the queue of a unix socket is, which is why it is not shown"},
		Strangers: 17,
	},
	"reloading": {
		Pool: "web", Version: "0.1.0", PID: 812, State: control.StateReloading, Generation: 7, Wanted: 1, Ready: 1,
		Workers: []control.Worker{
			{Slot: 1, PID: 10, Generation: 7, State: control.WorkerStopping, Since: ago(time.Hour), Note: "to make room"},
			{Slot: 2, PID: 11, Generation: 8, State: control.WorkerStarting, Since: noon},
		},
		Change:  &control.Change{Number: 6, Kind: "reload", State: control.ChangeRunning, Started: ago(2 * time.Second)},
		Waiting: &control.Change{Number: 7, Kind: "reload", State: control.ChangeWaiting},
	},
	"empty": {Pool: "web", Version: "0.1.0", PID: 812, State: control.StateEmpty, Generation: 1},
}

func TestStatusPages(t *testing.T) {
	s := &screen{}
	for name, st := range pages {
		t.Run(name, func(t *testing.T) {
			got := s.status(st, noon, 80)
			for line := range strings.Lines(got) {
				if n := columns(strings.TrimRight(line, "\n")); n > 80 {
					t.Errorf("%d columns: %s", n, line)
				}
			}
			file := filepath.Join("testdata", "status", name+".txt")
			if os.Getenv("UPDATE") != "" {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// Colours change nothing but the colours.
func TestColoursOnlyWhereWanted(t *testing.T) {
	plain, coloured := &screen{}, &screen{colour: true}
	for name, st := range pages {
		got := coloured.status(st, noon, 80)
		if !strings.Contains(got, "\x1b[") {
			t.Errorf("%s: no colour", name)
		}
		for _, code := range []string{"\x1b[31m", "\x1b[32m", "\x1b[33m", "\x1b[0m"} {
			got = strings.ReplaceAll(got, code, "")
		}
		if diff := cmp.Diff(plain.status(st, noon, 80), got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func TestSystemctlStop(t *testing.T) {
	xdg := func(string) string { return "/run/user/7" }
	for _, c := range []struct {
		dir     string
		euid    int
		want    string
		allowed bool
	}{
		{"/run/fugue/web", 0, "systemctl stop web.service", true},
		{"/run/fugue/web", 7, "systemctl stop web.service", false},
		{"/run/user/7/fugue/web", 7, "systemctl --user stop web.service", true},
	} {
		u := systemctlStop("web.service", c.dir, xdg, c.euid)
		if u.String() != c.want || u.allowed != c.allowed {
			t.Errorf("%+v: %s, %v", c, u, u.allowed)
		}
	}
}

// Somebody who may not stop a unit is told how, and nothing happens.
func TestStopUnitOfOthers(t *testing.T) {
	a := &app{out: &screen{Writer: t.Output()}, err: t.Output()}
	u := unitStop{args: []string{"false"}}
	err := failure(a.stopUnit(t.Context(), control.Status{Pool: "web", Unit: "web.service"}, u))
	var f *fault
	if !errors.As(err, &f) || f.exit != 1 || f.text != "systemd runs pool web and would start it again; nothing was changed, use: false" {
		t.Error(err)
	}
}
