package handover

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"fugue/internal/loadtest"
)

var stormSignals = []os.Signal{unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGTERM}

// monotonic is a time that two images share, unlike Go's.
func monotonic() int64 {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts)
	return ts.Nano()
}

// master says each signal that reaches it and becomes itself as many times as
// LEFT says, guarded unless BARE is set.
func master() int {
	if word := os.Getenv(Variable); os.Getenv("BORN") != word {
		// An image that must begin with more signals blocked starts itself anew.
		_ = os.Setenv("BORN", word)
		fmt.Println(unix.Exec("/proc/self/exe", os.Args, os.Environ()))
		return 1
	}
	signals := make(chan os.Signal, 64)
	signal.Notify(signals, stormSignals...)
	role, err := FromEnv(os.LookupEnv, os.Unsetenv)
	watching := monotonic()
	if err == nil {
		err = role.Guard.Release()
	}
	up := monotonic()
	if err != nil {
		fmt.Println(err)
		return 1
	}
	var s *Slots
	if role.Kind == FirstStart {
		s, err = Create(os.Getenv("STATE"))
	} else {
		s, err = FromFD(role.State)
	}
	if err != nil {
		fmt.Println(err)
		return 1
	}
	left, _ := strconv.Atoi(os.Getenv("LEFT"))
	if role.Kind == Resumption {
		b, err := s.Read()
		var since int64
		if _, err2 := fmt.Sscan(string(b), &left, &since); err != nil || err2 != nil {
			fmt.Println(err, err2)
			return 1
		}
		fmt.Println("gap", watching-since, up-since)
	}
	runtime.GC()
	fmt.Println("has", fds(os.Getpid()), children(os.Getpid()))
	if left == 0 {
		fmt.Println("end")
		go func() {
			_ = bufio.NewScanner(os.Stdin).Scan()
			close(signals)
		}()
		for sig := range signals {
			fmt.Println(unix.SignalName(sig.(unix.Signal)))
		}
		return 0
	}
	var g *Guard
	if os.Getenv("BARE") == "" {
		if g, err = StartGuard(context.Background()); err != nil {
			fmt.Println(err)
			return 1
		}
	}
	// What came before is on its way through package os/signal. The end of any
	// watch waits until all of it has arrived.
	fence := make(chan os.Signal, 1)
	signal.Notify(fence, stormSignals...)
	signal.Stop(fence)
	for len(signals) > 0 {
		fmt.Println(unix.SignalName((<-signals).(unix.Signal)))
	}
	if err := s.Write(fmt.Appendln(nil, left-1, monotonic())); err != nil {
		fmt.Println(err)
		return 1
	}
	if os.Getenv("TWICE") == "" { // the next image is as it should be from birth
		word := fmt.Sprintf("resume:%d", s.FD())
		if g != nil {
			word += fmt.Sprintf(",%d,%d", g.fd, g.pid)
		}
		_ = os.Setenv("BORN", word)
	}
	fmt.Println(Exec("/proc/self/exe", os.Args, os.Environ(), s.FD(), nil, g))
	return 1
}

// A master that hands over to itself again and again takes every signal of the
// four that would be lost or deadly, each sent when the last of its kind was
// said, so that none can be one with another.
func TestNoSignalIsLostOverHandovers(t *testing.T) { storm(t, loadtest.Scale(600), "TWICE=") }

// Even if the image that is born execs itself before it does anything.
func TestNoSignalIsLostOverTwoExecs(t *testing.T) { storm(t, loadtest.Scale(200), "TWICE=1") }

func storm(t *testing.T, n int, env string) {
	t.Helper()
	p := startRole(t, "master", env, "STATE="+t.TempDir()+"/state", fmt.Sprint("LEFT=", n))
	has := []string{strings.TrimPrefix(p.line(t), "has ")} // it watches signals
	var gaps []string
	said := map[string]chan struct{}{}
	for _, sig := range stormSignals {
		said[unix.SignalName(sig.(unix.Signal))] = make(chan struct{}, 2)
	}
	over := make(chan struct{})
	sent := make([]int, len(stormSignals))
	var senders sync.WaitGroup
	for i, sig := range stormSignals {
		senders.Go(func() {
			for {
				select {
				case <-over:
					return
				default:
				}
				if err := unix.Kill(p.Process.Pid, sig.(unix.Signal)); err != nil {
					t.Error(err)
					return
				}
				sent[i]++
				select {
				case <-said[unix.SignalName(sig.(unix.Signal))]:
				case <-time.After(patience):
					t.Errorf("%s number %d is lost", sig, sent[i])
					return
				}
				// Every instant of a handover is to be hit.
				<-time.After(time.Duration((sent[i]*37+i*11)%100) * 300 * time.Microsecond)
			}
		})
	}
	go func() { // the storm goes on a little after the last handover
		senders.Wait()
		_ = p.stdin.Close()
	}()
	total := 0
	for line := range p.lines {
		word, rest, _ := strings.Cut(line, " ")
		switch {
		case word == "has":
			has = append(has, rest)
		case word == "gap":
			gaps = append(gaps, rest)
		case word == "end":
			close(over)
		case said[word] != nil:
			total++
			said[word] <- struct{}{}
		default:
			t.Error(line)
		}
	}
	if err := p.Wait(); err != nil {
		t.Fatalf("after %d handovers: %v\n%v", len(gaps), err, p.Stderr)
	}
	want := 0
	for _, n := range sent {
		want += n
	}
	if total != want || total < n {
		t.Errorf("%d signals sent, %d said", want, total)
	}
	if len(has) != n+1 || has[1] != has[n] {
		t.Errorf("descriptors and children: %v", has)
	}
	watching, released := middle(gaps)
	t.Logf("%d handovers, %d signals %v; from before the exec to the watch %s, to the release %s", n, total, sent, watching, released)
}

// BenchmarkGap measures from before the exec until the next image watches
// signals, and until it has released the guard, where there is one.
func BenchmarkGap(b *testing.B) {
	for _, bare := range []string{"", "BARE=1"} {
		b.Run("guard="+strconv.FormatBool(bare == ""), func(b *testing.B) {
			p := startRole(b, "master", "STATE="+b.TempDir()+"/state", fmt.Sprint("LEFT=", b.N), bare)
			var gaps []string
			for {
				line := p.line(b)
				if line == "end" {
					break
				}
				if rest, ok := strings.CutPrefix(line, "gap "); ok {
					gaps = append(gaps, rest)
				}
			}
			watching, released := middle(gaps)
			b.ReportMetric(float64(watching.Microseconds()), "watching-µs")
			b.ReportMetric(float64(released.Microseconds()), "released-µs")
		})
	}
}

// middle gives the medians of pairs.
func middle(list []string) (a, b time.Duration) {
	var as, bs []int64
	for _, s := range list {
		var x, y int64
		_, _ = fmt.Sscan(s, &x, &y)
		as, bs = append(as, x), append(bs, y)
	}
	if len(list) == 0 {
		return 0, 0
	}
	slices.Sort(as)
	slices.Sort(bs)
	return time.Duration(as[len(as)/2]), time.Duration(bs[len(bs)/2])
}
