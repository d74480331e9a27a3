package e2e_test

import (
	"strconv"
	"testing"

	"fugue/e2e"
	"fugue/internal/loadtest"
)

// A reload adds, removes and moves listeners; those that stay lose nothing.
func TestReloadChangesListeners(t *testing.T) {
	const kept = "[listen.http]\nstream = \"127.0.0.1:8080\"\n"
	e2e.EachRoot(t, func(t *testing.T, sb *e2e.Sandbox) {
		p := newPool(t, sb, kept+"[listen.old]\nstream = \"127.0.0.1:8081\"\n[listen.moved]\nstream = \"127.0.0.1:8082\"\n")
		sb.Do("systemctl", "start", "web")
		stored := sb.ShowInt("web", "NFileDescriptorStore")
		load := sb.Load(loadtest.Config{Address: "127.0.0.1:8080"})
		p.connects("127.0.0.1:8081", true)

		p.tables = kept + "[listen.new]\nstream = \"/t/new.sock\"\n[listen.moved]\nstream = \"127.0.0.1:8083\"\n"
		p.deploy("-version", "v2")
		p.reload()
		load.AwaitVersion("v2")
		p.four() // none that had the others is left
		p.connects("127.0.0.1:8081", false)
		p.connects("127.0.0.1:8082", false)
		p.connects("127.0.0.1:8083", true)
		if a := p.get("/t/new.sock"); a != 200 {
			t.Errorf("the added listener answers %d", a)
		}
		sb.WaitShow("web", "NFileDescriptorStore", strconv.Itoa(stored)) // one was added and one removed

		// A release that fails takes its listener back.
		p.tables = kept + "[listen.extra]\nstream = \"127.0.0.1:8084\"\n"
		p.deploy("-exit", "1")
		if r := sb.Systemctl("reload", "web"); r.Code == 0 {
			t.Error(r)
		}
		p.connects("127.0.0.1:8083", true)
		p.connects("127.0.0.1:8084", false)
		sb.WaitShow("web", "NFileDescriptorStore", strconv.Itoa(stored))

		// A busy address changes nothing and names who has it.
		sb.Unit("busy.service", "[Service]\nExecStart=/usr/bin/testworker -addr 127.0.0.1:8090\nType=notify\n")
		sb.Do("systemctl", "start", "busy")
		p.tables = kept + "[listen.busy]\nstream = \"127.0.0.1:8090\"\n"
		p.deploy("-version", "v3")
		r := sb.Exec("fugue", "reload", "web")
		if r.Code != 5 {
			t.Error(r)
		}
		p.want("the refusal", r.String(), "127.0.0.1:8090", "address already in use by testworker (pid")
		p.connects("127.0.0.1:8083", true)
		load.StopWithoutLoss()
	})
}

func (p *pool) connects(address string, wanted bool) {
	p.t.Helper()
	c, err := p.Dial("tcp", address)
	if err == nil {
		c.Close()
	}
	if (err == nil) != wanted {
		p.t.Errorf("connect to %s: %v, connected wanted: %v", address, err, wanted)
	}
}

func (p *pool) get(unixPath string) int {
	p.t.Helper()
	r, err := p.Client(unixPath).Get("http://pool/")
	if err != nil {
		p.t.Fatal(err)
	}
	defer r.Body.Close()
	return r.StatusCode
}
