package doctor

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"fugue/internal/config"
)

// service looks at what must be so for any pool.
func (e *exam) service() {
	p := e.Service
	must := func(check, property, want, line, why string) {
		if got := p.text(property); got != want {
			e.find(check, why, e.drop(line), "%s has %s=%s", e.Unit, property, got)
		}
	}
	must("type", "Type", "notify", "Type=notify", "systemd does not learn when the pool is ready, and takes a failed start for a good one")
	must("notify-access", "NotifyAccess", "main", "NotifyAccess=main", "either the master is not heard, or a worker can speak for it and end the service")
	must("kill-mode", "KillMode", "process", "KillMode=process", "workers are killed together with a master that dies, and with every systemctl restart: requests are lost")
	must("oom-policy", "OOMPolicy", "continue", "OOMPolicy=continue", "one worker that is killed for its memory stops the whole service")
	must("restart", "Restart", "always", "Restart=always", "nobody comes after a master that dies, and its workers are ended")
	if d := p.span("RestartUSec"); d > 3*time.Second {
		e.find("restart-delay", "so long a pool without a master replaces no worker that dies, and behind no .socket a first start that failed is refused", e.drop("RestartSec=100ms"),
			"%s waits %v before it starts another master", e.Unit, d)
	}
	if p.span("StartLimitIntervalUSec") != 0 {
		e.find("start-limit", "a master that fails to start a few times is given up: its workers are ended, and behind a .socket connections are refused for good",
			e.drop("StartLimitIntervalSec=0 in [Unit]"), "%s has a start limit", e.Unit)
	}
	e.store()
	e.directory()
	if !slices.ContainsFunc(p.commands("ExecReload"), func(c string) bool { return strings.Contains(c, "reload") }) {
		e.find("exec-reload", "systemctl reload cannot say whether the reload failed, or does nothing", e.drop("ExecReload=/usr/bin/fugue reload "+e.Pool), "%s has no ExecReload=", e.Unit)
	}
	if !slices.ContainsFunc(p.commands("ExecStopPost"), func(c string) bool { return strings.Contains(c, "sweep") }) {
		e.find("exec-stop-post", "workers of a stop that was cut short go on for ever, with the old code", e.drop("ExecStopPost=+/usr/bin/fugue sweep "+e.Pool), "%s has no ExecStopPost= that sweeps", e.Unit)
	}
}

// store looks whether what fugue binds fits into the fd store, twice over for a
// reload that changes the addresses.
func (e *exam) store() {
	want := 8
	if e.Config != nil {
		want += 2 * len(e.Config.Listeners)
	}
	if n := e.Service.number("FileDescriptorStoreMax"); n < uint64(want) {
		e.find("store-size", "what systemd does not keep is closed when the master ends: connections are refused in a restart", e.drop("FileDescriptorStoreMax=4096"),
			"%s keeps %d descriptors where up to %d are needed", e.Unit, n, want)
	}
}

func (e *exam) directory() {
	want := "fugue/" + e.Pool
	if !slices.Contains(e.Service.list("RuntimeDirectory"), want) {
		e.find("runtime-directory", "its control socket and its state have no place that lasts as long as the unit", e.drop("RuntimeDirectory="+want), "%s has no RuntimeDirectory=%s", e.Unit, want)
		return
	}
	if keep := e.Service.text("RuntimeDirectoryPreserve"); keep != "restart" && keep != "yes" {
		e.find("runtime-directory", "the state is deleted between two masters: the next one takes living workers for old ones, and replaces them", e.drop("RuntimeDirectoryPreserve=restart"),
			"%s has RuntimeDirectoryPreserve=%s", e.Unit, keep)
	}
}

func (e *exam) times() {
	p := e.Service
	if c := e.Config; c != nil {
		need := config.Infinity
		if c.Stop.Timeout < config.Infinity-c.Stop.Delay {
			need = c.Stop.Delay + c.Stop.Timeout
		}
		if have := p.span("TimeoutStopUSec"); have < need {
			e.find("stop-timeout", "systemd kills the master before its workers have drained", e.drop(fmt.Sprintf("TimeoutStopSec=%ds", int64((need+15*time.Second)/time.Second))),
				"%s gives a stop %v, and [stop] of %s gives a worker %v", e.Unit, have, e.File, need)
		}
	}
	began, active := p.number("ExecMainStartTimestampMonotonic"), p.number("ActiveEnterTimestampMonotonic")
	dog := p.span("WatchdogUSec")
	if took := time.Duration(active-began) * time.Microsecond; dog > 0 && dog < config.Infinity && began > 0 && active > began && dog < took {
		e.find("watchdog", "a master that is as slow again, in a handover under load, is killed for a hang", e.drop(fmt.Sprintf("WatchdogSec=%ds", int64(2*took/time.Second)+30)),
			"WatchdogSec= of %s is %v, and its last start took %v", e.Unit, dog, took.Round(time.Millisecond))
	} else if dog > 0 && dog < 2*time.Second {
		e.find("watchdog", "a busy machine is enough for systemd to kill the master for a hang", e.drop("WatchdogSec=30s"), "WatchdogSec= of %s is %v", e.Unit, dog)
	}
}

// processes looks at who runs.
func (e *exam) processes() {
	if e.Exec != "" && !strings.HasPrefix(filepath.Base(e.Exec), "fugue") {
		e.find("wrapper", "LISTEN_PID, the watchdog and NotifyAccess=main mean the main process: the master under it has no sockets and is not heard",
			"let ExecStart= be /usr/bin/fugue run … itself, or the wrapper end with exec; then: systemctl daemon-reload && systemctl restart "+e.Unit,
			"the main process of %s is %s and not fugue", e.Unit, e.Exec)
	}
	for _, w := range e.Workers {
		if w.Child > 0 {
			e.find("listen-pid", "programs take LISTEN_FDS only when LISTEN_PID is their own: behind a wrapper that forks it never is",
				`let the command be the server itself, or a shell that ends with exec: ["sh", "-c", "exec server"]; or say the descriptor, {fd}`,
				"worker %d is not ready: its process %d has the LISTEN_PID of another", w.PID, w.Child)
		}
	}
	for _, f := range e.Flags {
		if l := e.listener(f.Listener); l != nil && l.NonBlocking != nil && *l.NonBlocking != f.NonBlocking {
			e.find("nonblocking", "the flag belongs to the socket that all workers share: one that expects the other kind spins, or hangs in accept",
				fmt.Sprintf("let no worker change the flag of the socket it is given, or say nonblocking = %t in [listen.%s]; then: systemctl reload %s", f.NonBlocking, f.Listener, e.Unit),
				"a worker has turned O_NONBLOCK of listener %s to %t, and its table says %t", f.Listener, f.NonBlocking, *l.NonBlocking)
		}
	}
}

func (e *exam) listener(name string) *config.Listener {
	if e.Config == nil {
		return nil
	}
	for i := range e.Config.Listeners {
		if e.Config.Listeners[i].Name == name {
			return &e.Config.Listeners[i]
		}
	}
	return nil
}
