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
	signals := make(chan os.Signal, 64)
	signal.Notify(signals, stormSignals...)
	role, err := FromEnv(os.LookupEnv, os.Unsetenv)
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
		fmt.Println("gap", up-since)
	}
	runtime.GC()
	fmt.Println("has", fds(os.Getpid()), children(os.Getpid()))
	if left == 0 {
		fmt.Println("end")
		go func() {
			_ = bufio.NewScanner(os.Stdin).Scan()
			close(signals)
		}()
		signal.Notify(make(chan os.Signal), unix.SIGUSR1)
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
	fmt.Println(Exec("/proc/self/exe", os.Args, os.Environ(), s.FD(), nil, g))
	return 1
}

// A master that hands over to itself again and again takes every signal of the
// four that would be lost or deadly, each sent when the last of its kind was
// said, so that none can be one with another.
func TestNoSignalIsLostOverHandovers(t *testing.T) {
	n := scaled(t, 600)
	p := startRole(t, "master", "STATE="+t.TempDir()+"/state", fmt.Sprint("LEFT=", n))
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
	t.Logf("%d handovers, %d signals %v; exec to release: %s", n, total, sent, middle(gaps))
}

// BenchmarkGap measures from before the exec until the next image watches
// signals and, where there is one, has released the guard.
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
			b.ReportMetric(float64(middle(gaps).Microseconds()), "median-µs")
		})
	}
}

func middle(list []string) time.Duration {
	var n []int
	for _, s := range list {
		i, _ := strconv.Atoi(s)
		n = append(n, i)
	}
	if len(n) == 0 {
		return 0
	}
	slices.Sort(n)
	return time.Duration(n[len(n)/2])
}
