package e2e_test

import (
	"errors"
	"os"
	"strings"
	"testing"

	"fugue/e2e"
	"fugue/internal/handover"
)

// A death never deploys: the successor runs what its predecessor ran.
func TestKillWithAnEditedFile(t *testing.T) {
	e2e.EachRoot(t, func(t *testing.T, sb *e2e.Sandbox) {
		p := newQuick(t, sb)
		load, old := p.loads(), p.workers()
		edits := map[string]func(){
			"another version": func() { p.deploy("-version", "v2") },
			"a broken one":    func() { sb.File("/etc/fugue/web.toml", "command = wrong") },
			"none at all":     func() { sb.Do("rm", "/etc/fugue/web.toml") },
		}
		for name, edit := range edits {
			edit()
			main := sb.MainPID("web")
			sb.Kill(main)
			status := p.settled("running")
			if status.PID == main.PID {
				t.Errorf("%s: the status is the dead master's", name)
			}
			p.serveAs(status, 1, "v1")
			if r := sb.Exec("fugue", "status", "web"); r.Code != 0 {
				t.Errorf("%s: %v", name, r)
			}
		}
		for _, w := range old {
			if !p.lives(w) {
				t.Errorf("%+v did not survive its masters", w)
			}
		}
		p.deploy("-version", "v2")
		p.reload()
		load.awaitVersion("v2")
		load.stopWithoutLoss()
	})
}

// A restart with a file that cannot be used, or a release that does not come
// up: what served goes on serving, and everybody can see why.
func TestRestartWithABrokenFile(t *testing.T) {
	e2e.EachRoot(t, func(t *testing.T, sb *e2e.Sandbox) {
		p := newQuick(t, sb)
		load := p.loads()
		breaks := map[string]func(){
			"expected '=' after key":    func() { sb.File("/etc/fugue/web.toml", "wrong") },
			"no such file or directory": func() { sb.Do("rm", "/etc/fugue/web.toml") },
			"ended with exit status 3":  func() { p.deploy("-version", "bad", "-exit", "3") },
			"no-such-command":           func() { sb.File("/etc/fugue/web.toml", "command = [\"/no-such-command\"]\n"+quick) },
		}
		for reason, broken := range breaks {
			broken()
			if r := sb.Systemctl("restart", "web"); r.Code != 0 {
				t.Errorf("%s: the unit is up all the same: %v", reason, r)
			}
			sb.WaitState("web", "running")
			sb.WaitShowAs("web", "StatusText", func(now string) bool { return strings.HasPrefix(now, "degraded: 4 of 4") })
			p.want("the status of the unit", sb.Show("web", "StatusText"), reason)
			p.want("systemctl status", sb.Systemctl("status", "--full", "web").Out, "degraded", reason)
			r := sb.Exec("fugue", "status", "web")
			if r.Code != 6 {
				t.Errorf("%s: %v", reason, r)
			}
			p.want("fugue status", r.Out, "degraded", "generation 1, 4 of 4 workers ready")
			// It outlasts the master that found it.
			sb.Kill(sb.MainPID("web"))
			sb.WaitState("web", "running")
			sb.WaitShowAs("web", "StatusText", func(now string) bool { return strings.HasPrefix(now, "degraded: 4 of 4") })
			p.oneASlot()
		}
		p.deploy("-version", "v2")
		p.reload()
		load.awaitVersion("v2")
		p.settled("running")
		if r := sb.Exec("fugue", "status", "web"); r.Code != 0 {
			t.Errorf("after the mending: %v", r)
		}
		for _, report := range load.stopWithoutLoss() {
			if seen, ok := report.Saw("bad"); ok {
				t.Errorf("answers of the broken release: %+v", seen)
			}
		}
	})
}

// A successor that cannot use what was written down says why, and begins
// anew from the file: the old workers serve until the new pool is ready.
func TestUnusableState(t *testing.T) {
	damages := []struct {
		name, says string
		do         func(file *os.File) error
	}{
		{"overwritten", "neither of its two slots is whole", overwrite},
		{"truncated", "neither of its two slots is whole", func(f *os.File) error { return f.Truncate(100) }},
		{"another-major", "written by fugue", rewrite(`"major":1`, `"major":9`)},
		{"another-pool", "it is of the pool other, and this is web", rewrite(`"pool":"web"`, `"pool":"other"`)},
	}
	e2e.EachRoot(t, func(t *testing.T, sb *e2e.Sandbox) {
		for _, d := range damages {
			t.Run(d.name, func(t *testing.T) {
				p := newQuick(t, sb, "ExecStartPre=/bin/sh -c 'test ! -p /t/gate || read line < /t/gate'")
				p.deploy("-version", "v2", "-start-delay", "400ms")
				load, slow, old := p.loads(), p.slowly(), p.workers()
				main := sb.MainPID("web")
				sb.Do("mkfifo", "/t/gate") // or the next may read it first
				sb.Kill(main)
				// One file under two names: in the runtime directory and in the fd store.
				file, err := os.OpenFile(sb.Path("/run/fugue/web/state"), os.O_RDWR, 0)
				if err != nil {
					t.Fatal(err)
				}
				if err := d.do(file); err != nil {
					t.Fatal(err)
				}
				file.Close()
				sb.Do("sh", "-c", "echo go > /t/gate; rm /t/gate")
				load.awaitVersion("v2")
				for _, w := range old {
					sb.WaitGone(w)
				}
				load.stopWithoutLoss()
				slow.StopWithoutLoss()
				p.settled("running")
				journal := sb.Journal("-u", "web", "_PID="+pid(sb.MainPID("web")))
				p.want("journal", journal, "what the last master wrote down is of no use", d.says)
				before, _, stopped := strings.Cut(journal, "stopping process")
				if n := strings.Count(before, "of generation 1 is ready"); !stopped || n < 4 {
					t.Errorf("the old workers were ended with %d of 4 new ones ready:\n%s", n, journal)
				}
				sb.Do("systemctl", "stop", "web")
			})
		}
	})
}

// overwrite makes both slots something else.
func overwrite(f *os.File) error {
	noise := []byte(strings.Repeat("not a state ", 100))
	for _, at := range []int64{0, 16 << 20} {
		if _, err := f.WriteAt(noise, at); err != nil {
			return err
		}
	}
	return nil
}

// rewrite writes a whole state that has one text for another.
func rewrite(old, replacement string) func(*os.File) error {
	return func(f *os.File) error {
		slots, err := handover.Open(f.Name())
		if err != nil {
			return err
		}
		defer slots.Close()
		b, err := slots.Read()
		if err != nil {
			return err
		}
		text := []byte(strings.Replace(string(b), old, replacement, 1))
		return errors.Join(slots.Write(text), slots.Write(text)) // both slots
	}
}
