package e2e_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"fugue/e2e"
	"fugue/internal/control"
)

// ask runs fugue in the background; its end comes over the channel.
func (p *pool) ask(words ...string) <-chan e2e.Result {
	end := make(chan e2e.Result, 1)
	go func() { end <- p.Exec(append([]string{ctl}, words...)...) }()
	return end
}

// change is what the master says of one; the zero one if there is none yet.
func (p *pool) change(n int) (c control.Change) {
	p.t.Helper()
	answer, err := p.Client("/run/fugue/web/control.sock").Get(fmt.Sprintf("http://fugue/changes/%d", n))
	if err != nil {
		p.t.Fatal(err)
	}
	defer answer.Body.Close()
	if err := json.NewDecoder(answer.Body).Decode(&c); err != nil {
		p.t.Fatal(err)
	}
	return c
}

// Who waits for a verdict has it, whatever image the master is of by then: a
// reload behind an upgrade, an upgrade behind that, an upgrade behind a reload
// that is done, or undone.
func TestVerdictsCrossAHandover(t *testing.T) {
	// The rehearsal says that it runs, and waits until there is a line to read.
	gate := script(t, "#!/bin/sh\necho >/t/here\nread x </t/gate\nexec /usr/bin/fugue \"$@\"\n")
	e2e.EachRoot(t, func(t *testing.T, sb *e2e.Sandbox) {
		p := handoverPool(t, sb)
		load := p.keptLoads()
		sb.Do("mkfifo", "/t/here", "/t/gate")
		sb.Install(gate, "/usr/bin/fugue")
		upgrade := p.ask("upgrade", "web", "-o", "json")
		n := p.awaitStatus(func(s control.Status) bool { return s.Change.Kind == "upgrade" }).Change.Number
		sb.Do("cat", "/t/here") // the shell has opened its script, which is replaced below
		p.deploy("-version", "v2")
		reload := p.ask("reload", "web")
		p.awaitStatus(func(s control.Status) bool { return s.Waiting != nil && s.Waiting.Number == n+1 })
		second := p.ask("upgrade", "web")
		p.awaitStatus(func(control.Status) bool { return p.change(n+2).State == control.ChangeWaiting })
		sb.Install(e2e.Fugue(t), "/usr/bin/fugue")
		sb.Do("sh", "-c", "echo go >/t/gate")

		r := <-upgrade
		var last control.Event
		lines := strings.Split(strings.TrimSpace(r.Out), "\n")
		if err := json.Unmarshal([]byte(lines[len(lines)-1]), &last); err != nil || r.Code != 0 || r.Err != "" ||
			last.Change == nil || last.Change.Number != n || last.Change.Outcome != control.OutcomeOK || !strings.Contains(last.Change.Message, "serves") {
			t.Errorf("%v: %v", err, r)
		}
		p.verdict(second, 0, "4 workers taken along")
		p.verdict(reload, 0, "generation 2 serves")
		load.awaitVersion("v2")

		for _, c := range []struct {
			exit  int
			says  string
			flags []string
		}{{0, "serves", []string{"-version", "v3", "-start-delay", "300ms"}}, {5, "exit status 9", []string{"-start-delay", "300ms", "-exit", "9"}}} {
			p.deploy(c.flags...)
			last := p.status().Change.Number
			reload := p.ask("reload", "web")
			p.awaitStatus(func(s control.Status) bool { return s.Change.Kind == "reload" && s.Change.Number > last })
			upgrade := p.ask("upgrade", "web")
			p.verdict(reload, c.exit, c.says)
			p.verdict(upgrade, 0, "4 workers taken along")
		}
		load.awaitVersion("v3")
		load.stopWithoutLoss()
	})
}

func (p *pool) verdict(end <-chan e2e.Result, exit int, says ...string) {
	p.t.Helper()
	r := <-end
	if r.Code != exit {
		p.t.Errorf("want exit %d: %v", exit, r)
	}
	p.want("its verdict", r.String(), says...)
}
