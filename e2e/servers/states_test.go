package servers_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"fugue/internal/control"
	"fugue/internal/loadtest"
)

// What a server does at its stop to connections in each state must not depend
// on who sent the SIGTERM. Nothing is left to chance here: one process has
// accepted them all, and it is stopped once another serves.
func TestStopIsASigterm(t *testing.T) {
	for _, s := range []server{uvicorn, puma} {
		t.Run(s.name, func(t *testing.T) {
			need(t, s)
			s.deferred = false // it is to have connections with nothing to read
			first, second := s.release(0), s.release(1)
			first.workers, second.workers = 1, 1

			p := startPool(t, first)
			under := board(t, p.Address)
			stopping := func(e control.Event) bool { return e.Kind == "stopping" }
			p.reload(second)
			p.await("stop of the old worker", stopping)
			fugue := under.land()

			b := newBare(t, s)
			old := b.start(first.version)
			alone := board(t, b.Address)
			next := b.start(second.version)
			load := startLoad(t, loadtest.Config{Address: b.Address, Rate: 20})
			awaitVersion(t, load, second.version)
			load.Stop()
			b.stop(old)
			bare := alone.land()
			b.awaitEnd(old)
			b.stop(next)
			b.awaitEnd(next)

			t.Logf("fugue: %+v", fugue)
			t.Logf("bare SIGTERM: %+v", bare)
			if fugue != bare {
				t.Error("the server took fugue's stop for something else than a SIGTERM")
			}
		})
	}
}

// passengers are connections in the hands of one process: on some nothing has
// come yet, on others half a request, and some are being answered as soon as the
// rest of what they post has come.
type passengers struct{ silent, half, posting [4]net.Conn }

// answered is how many of them got an answer.
type answered struct{ Silent, Half, Posting int }

const (
	request = "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
	post    = "POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 4\r\n\r\nab"
)

// board opens connections to the only process that serves. They are accepted in
// turn, so all are when those that came last have their answers.
func board(t *testing.T, address string) (p passengers) {
	t.Helper()
	dial := func(text string) net.Conn {
		c, err := net.DialTimeout("tcp", address, guard)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		_ = c.SetDeadline(time.Now().Add(guard))
		if _, err := io.WriteString(c, text); err != nil {
			t.Fatal(err)
		}
		return c
	}
	for i := range p.silent {
		p.silent[i], p.half[i], p.posting[i] = dial(""), dial(request[:10]), dial(post)
	}
	for range 2 {
		if !isAnswered(dial(request)) {
			t.Fatal("no answer before the stop")
		}
	}
	return p
}

// land sends what is missing once the process has closed what it does not wait
// for: to all at once, as it may wait for some before it looks at others.
func (p passengers) land() (n answered) {
	count := func(list [4]net.Conn) (answers int) {
		for _, c := range list {
			if isAnswered(c) {
				answers++
			}
		}
		return answers
	}
	n.Silent = count(p.silent)
	for i := range p.half {
		_, _ = io.WriteString(p.half[i], request[10:]) // it may have been closed
		_, _ = io.WriteString(p.posting[i], "cd")
	}
	n.Half, n.Posting = count(p.half), count(p.posting)
	return n
}

func isAnswered(c net.Conn) bool {
	answer, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return false
	}
	answer.Body.Close()
	return answer.StatusCode == http.StatusOK
}
