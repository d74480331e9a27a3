package e2e_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"fugue/e2e"
	"fugue/internal/loadtest"
)

const service = e2e.Service

// tcpSocket and unixSocket hand the listeners of selfBound to systemd.
const (
	tcpSocket = `[Socket]
ListenStream=127.0.0.1:8080
FileDescriptorName=http
Service=web.service
TriggerLimitIntervalSec=0
`
	unixSocket = `[Socket]
ListenStream=/t/web.sock
FileDescriptorName=local
Service=web.service
TriggerLimitIntervalSec=0
`
)

// selfBound are the same two listeners, bound by fugue.
const selfBound = `[listen.http]
stream = "127.0.0.1:8080"
[listen.local]
stream = "/t/web.sock"
`

// pool is the pool "web" in a sandbox.
type pool struct {
	*e2e.Sandbox
	t      *testing.T
	tables string // of the configuration, behind the first lines
}

// newPool writes the unit and the first release, and starts nothing. tables
// are the configuration behind command and workers.
func newPool(t *testing.T, sb *e2e.Sandbox, tables string) *pool {
	p := &pool{Sandbox: sb, t: t, tables: tables}
	p.deploy("-version", "v1")
	sb.Unit("web.service", service)
	return p
}

// deploy writes a release: testworker with these flags.
func (p *pool) deploy(flags ...string) {
	p.t.Helper()
	words := append([]string{"/usr/bin/testworker"}, flags...)
	p.File("/etc/fugue/web.toml", fmt.Sprintf("command = [%s]\nworkers = 4\n%s", quoted(words), p.tables))
}

func quoted(words []string) string {
	var list []string
	for _, w := range words {
		list = append(list, fmt.Sprintf("%q", w))
	}
	return strings.Join(list, ", ")
}

// loads are one on each of the pool's two listeners.
func (p *pool) loads() loads {
	p.t.Helper()
	return loads{
		p.Load(loadtest.Config{Address: "127.0.0.1:8080", For: longest, Max: most}),
		p.Load(loadtest.Config{Network: "unix", Address: "/t/web.sock", Rate: 100, For: longest, Max: most}),
	}
}

// longest bounds a load that is stopped by its test: all counts of the longest
// one, on a slow machine.
const (
	longest = 20 * time.Minute
	most    = 1_000_000 // requests, more than come in that time
)

type loads []*e2e.Load

func (l loads) awaitVersion(version string) {
	for _, load := range l {
		load.AwaitVersion(version)
	}
}

func (l loads) awaitMore(n int) {
	for _, load := range l {
		load.AwaitMore(n)
	}
}

func (l loads) stopWithoutLoss() (reports []*loadtest.Report) {
	for _, load := range l {
		reports = append(reports, load.StopWithoutLoss())
	}
	return reports
}

// reload runs systemctl reload, which must do well.
func (p *pool) reload() {
	p.t.Helper()
	if r := p.Systemctl("reload", "web"); r.Code != 0 {
		p.t.Fatalf("%v\n%s", r, p.Journal("-u", "web"))
	}
}

// workers are the unit's processes without its master, and what may watch over
// them after a master's end.
func (p *pool) workers() (list []e2e.Process) {
	p.t.Helper()
	main := p.ShowInt("web", "MainPID")
	for _, process := range p.Processes("web") {
		if process.PID != main && !isCaretaker(process) {
			list = append(list, process)
		}
	}
	return list
}

// want fails the test unless text has all the parts.
func (p *pool) want(what, text string, parts ...string) {
	p.t.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			p.t.Errorf("%s lacks %q:\n%s", what, part, text)
		}
	}
}
