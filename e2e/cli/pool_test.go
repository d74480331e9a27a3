package cli_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"fugue/e2e"
	"fugue/internal/control"
	"fugue/internal/testworker"
)

func TestMain(m *testing.M) { os.Exit(e2e.Main(m)) }

// guard bounds what should have happened long before.
const guard = time.Minute

// pool is the pool "web" of a fugue run that is a child of the test.
type pool struct {
	t     *testing.T
	dir   string
	run   *exec.Cmd
	log   *bufio.Reader // what it writes; who waits for a line reads it
	out   *os.File      // the end that is read
	begun string        // what it wrote until it served
	uid   int           // whose it is
}

// start runs two workers and returns when they serve.
func start(t *testing.T, flags ...string) *pool {
	t.Helper()
	p := newPool(t)
	p.begin(p.words(flags...)...)
	return p
}

// newPool is a pool that does not run yet.
func newPool(t *testing.T) *pool {
	t.Helper()
	dir, err := os.MkdirTemp("", "f") // short: a unix socket is to be in it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return &pool{t: t, dir: dir}
}

// words are fugue's for two workers with these flags.
func (p *pool) words(flags ...string) []string {
	p.t.Helper()
	return append([]string{"run", "--name", "web", "-n", "2", "-l", p.dir + "/web.sock", "--restart.min_uptime", "0",
		"--ready.when", "notify", e2e.Testworker(p.t)}, flags...)
}

// begin runs it and returns when it serves.
func (p *pool) begin(words ...string) {
	p.t.Helper()
	out, in, err := os.Pipe()
	if err != nil {
		p.t.Fatal(err)
	}
	if p.run == nil {
		p.run = p.fugue(words...)
	}
	p.run.SysProcAttr.Setpgid, p.run.SysProcAttr.Pdeathsig = true, syscall.SIGTERM
	p.beginOn(out, in)
}

// beginOn runs it with in as its output, which can be read from out.
func (p *pool) beginOn(out, in *os.File) {
	p.t.Helper()
	p.startOn(out, in)
	p.begun = p.await("generation 1 serves")
}

// startOn does not wait for it.
func (p *pool) startOn(out, in *os.File) {
	p.t.Helper()
	defer in.Close()
	p.run.Stdout, p.run.Stderr = in, in
	if err := p.run.Start(); err != nil {
		p.t.Fatal(err)
	}
	p.out, p.log = out, bufio.NewReader(out)
	run := p.run
	p.t.Cleanup(func() {
		out.Close()
		_ = run.Process.Signal(syscall.SIGTERM)
		_ = run.Wait()
	})
}

// fugue is the program with the pool's own runtime directory.
func (p *pool) fugue(args ...string) *exec.Cmd {
	cmd := exec.Command(e2e.Fugue(p.t), args...)
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "RUNTIME_DIRECTORY=" + filepath.Join(p.dir, "fugue", "web")}
	if p.uid != 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(p.uid), Gid: uint32(p.uid)}}
	} else {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	return cmd
}

// await reads what the pool writes up to a line that has text in it.
func (p *pool) await(text string) string {
	p.t.Helper()
	_ = p.out.SetReadDeadline(time.Now().Add(guard))
	var all strings.Builder
	for {
		line, err := p.log.ReadString('\n')
		all.WriteString(line)
		if strings.Contains(line, text) {
			return all.String()
		}
		if err != nil {
			p.t.Fatalf("no %q: %v\n%s", text, err, all.String())
		}
	}
}

// rest is what the pool wrote up to its end.
func (p *pool) rest() string {
	p.t.Helper()
	_ = p.out.SetReadDeadline(time.Now().Add(guard))
	text, err := io.ReadAll(p.log)
	if err != nil {
		p.t.Fatal(err)
	}
	return string(text)
}

func (p *pool) status() (s control.Status) {
	p.t.Helper()
	code, out, errs := ask(p.t, p.fugue("status", "web", "-o", "json"))
	if code != 0 {
		p.t.Fatalf("status: exit %d\n%s%s", code, out, errs)
	}
	if err := json.Unmarshal([]byte(out), &s); err != nil {
		p.t.Fatal(err)
	}
	return s
}

// untouched fails the test unless the pool is as it was.
func (p *pool) untouched(before control.Status) {
	p.t.Helper()
	now := p.status()
	if now.Generation != before.Generation || now.State != "running" || len(now.Workers) != len(before.Workers) {
		p.t.Fatalf("the pool was %+v and is %+v", before, now)
	}
	for i, w := range now.Workers {
		if w.PID != before.Workers[i].PID {
			p.t.Errorf("worker %d was %d and is %d", w.Slot, before.Workers[i].PID, w.PID)
		}
	}
}

// postTo sends a form to a worker by a connection of its own, and says which one
// took it.
func (p *pool) postTo(path string, form url.Values) (slot int, err error) {
	client := http.Client{Timeout: guard, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(context.Context, string, string) (net.Conn, error) {
			return net.Dial("unix", p.dir+"/web.sock")
		},
	}}
	answer, err := client.PostForm("http://web"+path, form)
	if err != nil {
		return 0, err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return 0, fmt.Errorf("%s: %s", path, answer.Status)
	}
	return strconv.Atoi(answer.Header.Get(testworker.HeaderSlot))
}

// ask runs a command to its end.
func ask(t *testing.T, cmd *exec.Cmd) (code int, out, errs string) {
	t.Helper()
	var o, e bytes.Buffer
	cmd.Stdout, cmd.Stderr = &o, &e
	err := cmd.Start()
	if err == nil {
		late := time.AfterFunc(guard, func() { _ = cmd.Process.Kill() })
		err = cmd.Wait()
		late.Stop()
	}
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), o.String(), e.String()
}
