package cli_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A worker drains while the master is stopped for longer than the stop timeout:
// when that looks again, the worker may still finish the request that it has.
func TestAStoppedMasterKillsNobodyWhoDrains(t *testing.T) {
	t.Parallel()
	const timeout = 3 * time.Second // the request is ended well within it
	p := newPool(t)
	words := p.words()
	last := len(words) - 1
	p.begin(append(words[:last:last], "--stop.timeout", timeout.String(), words[last])...)
	pid := p.status().Workers[1].PID
	c := p.reach(pid)
	answers := bufio.NewReader(c)
	post := "POST /slow HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 4\r\nContent-Type: application/x-www-form-urlencoded\r\n\r\n"
	if _, err := io.WriteString(c, post); err != nil {
		t.Fatal(err)
	}
	// It is at it, and answers when it has the rest of the request.
	if begun, err := http.ReadResponse(answers, nil); err != nil || begun.StatusCode != http.StatusContinue {
		t.Fatalf("%v, %v", begun, err)
	}
	signal := func(s syscall.Signal) {
		if err := p.run.Process.Signal(s); err != nil {
			t.Fatal(err)
		}
	}
	signal(syscall.SIGTTOU) // one worker fewer
	p.await(fmt.Sprintf("stopping worker 2 (pid %d)", pid))
	signal(syscall.SIGSTOP)
	<-time.After(timeout + timeout/2) // it is time itself that has to pass
	signal(syscall.SIGCONT)
	p.status() // it has looked
	if _, err := io.WriteString(c, "ms=0"); err != nil {
		t.Fatal(err)
	}
	answer, err := http.ReadResponse(answers, nil)
	if err != nil || answer.StatusCode != http.StatusOK {
		t.Fatalf("no answer: %v, %v", answer, err)
	}
	answer.Body.Close()
	c.Close() // the word to stop may have come behind the answer: nothing is to be waited for
	if log := p.await(fmt.Sprintf("worker 2 (pid %d) of generation 1 stopped", pid)); strings.Contains(log, "killing") {
		t.Error(log)
	}
}

// reach makes a connection to a worker.
func (p *pool) reach(pid int) net.Conn {
	p.t.Helper()
	for {
		c, err := net.Dial("unix", p.dir+"/web.sock")
		if err != nil {
			p.t.Fatal(err)
		}
		p.t.Cleanup(func() { c.Close() })
		if p.requested(c) == pid {
			return c
		}
	}
}
