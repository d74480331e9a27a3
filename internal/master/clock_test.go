package master

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"fugue/internal/control"
	"fugue/internal/proc"
	"fugue/reload"
)

// timeOfDay is how one is written in JSON; number is what could be one as well.
var (
	timeOfDay = regexp.MustCompile(`"\d{4}-\d\d-\d\dT[0-9:.]+(Z|[+-]\d\d:\d\d)"`)
	number    = regexp.MustCompile(`\d{15,}`)
)

// stepped is the state as a successor finds it whose wall clock is ahead:
// what was written down as a time of day is so much longer ago to it. Nothing may
// be that in a form which this does not find.
func (h *harness) stepped() []byte {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, text := range number.FindAllString(timeOfDay.ReplaceAllString(string(h.saved), ""), -1) {
		n, _ := strconv.ParseInt(text, 10, 64)
		for _, unit := range []time.Duration{time.Nanosecond, time.Microsecond} { // others are too like a short time
			if t := time.Duration(n - time.Now().UnixNano()/int64(unit)); t.Abs() < 100*24*time.Hour/unit {
				h.Errorf("%s in the state is a time by the wall clock", text)
			}
		}
	}
	if h.ahead == 0 {
		return h.saved
	}
	return timeOfDay.ReplaceAllFunc(h.saved, func(b []byte) []byte {
		t, err := time.Parse(time.RFC3339Nano, strings.Trim(string(b), `"`))
		if err != nil {
			h.Error(err)
		}
		return []byte(t.Add(-h.ahead).Format(`"` + time.RFC3339Nano + `"`))
	})
}

// timeline is what the log says, and when.
type timeline struct {
	begun time.Time
	lines []string
}

func (*timeline) Levels() []logrus.Level { return logrus.AllLevels }

func (l *timeline) Fire(e *logrus.Entry) error {
	l.lines = append(l.lines, fmt.Sprintf("%v %s", time.Since(l.begun), e.Message))
	return nil
}

// A wall clock that is stepped between one master and the next, by hours and in
// either direction, changes nothing: all happens when it would have happened.
func TestSteppedClock(t *testing.T) {
	scenes := []struct {
		name    string
		file    string
		only    string // the way that can meet it
		before  func(h *harness)
		expects []string // of the log after it
	}{
		{"ready.timeout", "workers = 2\n[ready]\nwhen = \"notify\"\ntimeout = \"90s\"", "", func(h *harness) {
			h.with(func() { h.deploys["v1/3"] = hangs })
			h.scale(3)
			h.pass(30 * time.Second)
		}, []string{"not ready in time"}},
		{"min_uptime", "workers = 2\n[restart]\nmin_uptime = \"1min\"", "", func(h *harness) {
			h.pass(time.Minute)
			h.recycle(1)
			h.pass(30 * time.Second)
		}, []string{"stopping worker 1", "1 worker replaced"}},
		{"stop.timeout", "workers = 2\n[stop]\ntimeout = \"1min\"", "", func(h *harness) {
			h.deploy("v1", manner{ready: time.Second, deaf: true})
			h.die(h.worker(2), proc.Exit{Code: 1})
			h.pass(10 * time.Second)
			h.scale(1)
			h.pass(20 * time.Second)
			h.deploy("v1", good)
		}, []string{"killing worker 2"}},
		{"stop.delay", "workers = 2\n[stop]\ndelay = \"1min\"", "", func(h *harness) {
			h.scale(1)
			h.pass(20 * time.Second)
		}, []string{"stopping worker 2"}},
		{"backoff", "workers = 2\n[restart]\nmax_backoff = \"1min\"", "", func(h *harness) {
			h.deploy("v1", broken)
			h.die(h.worker(1), proc.Exit{Code: 1})
			h.pass(2*time.Minute + 20*time.Second)
		}, []string{"exit status 1"}},
		{"watchdog", "workers = 2\n[watchdog]\ntimeout = \"20s\"", "", func(h *harness) {
			h.deploy("v1", pings)
			h.die(h.worker(1), proc.Exit{Code: 1}) // the one in its place pings
			h.pass(10 * time.Second)
		}, []string{"stopping worker 2", "sent no WATCHDOG=1 in time"}},
		{"max_age", "workers = 2\n[recycle]\nmax_age = \"30min\"", "", func(h *harness) {
			h.pass(20 * time.Minute)
		}, []string{"recycled at its age"}},
		{"max_memory", "workers = 2\n[recycle]\nmax_memory = \"100M\"", "", func(h *harness) {
			h.weigh(map[*process]uint64{h.worker(2): 200})
			h.pass(15 * time.Second)
		}, []string{"recycled for its memory"}},
		{"reload.timeout", "workers = 2\n[reload]\ntimeout = \"2min\"\n[ready]\nwhen = \"notify\"\ntimeout = \"1h\"", "takeover", func(h *harness) {
			h.with(func() { h.release, h.manners["v2"], h.deploys["v2/4"], h.manners["v1"] = "v2", good, broken, hangs })
			h.reload()
			h.until(reload.RollingBack)
			h.pass(30 * time.Second)
		}, []string{"took too long (2m0s)"}},
		{"bake", "workers = 2\n[reload]\nbake = \"1min\"", "takeover", func(h *harness) {
			h.deploy("v2", good)
			h.reload()
			h.until(reload.Baking)
			h.pass(20 * time.Second)
		}, []string{"the master died during the rollout"}},
		{"the way on", "workers = 1\n[reload]\nmax_surge = 0\nmax_unavailable = 1\ncanary = 0\n[restart]\nmin_uptime = \"1min\"", "takeover", func(h *harness) {
			h.deploy("v2", slowly)
			h.pass(time.Minute)
			h.reload()
			h.pass(10 * time.Second)
		}, []string{"generation 2 serves (1 worker, 1m3s)"}},
	}
	ways := map[string]func(h *harness){
		"handover": func(h *harness) { h.expect(h.upgrade(), control.OutcomeOK, 0) },
		"takeover": func(h *harness) { h.kill9(); h.succeed(false); h.pass(0) },
	}
	for _, scene := range scenes {
		for name, succeed := range ways {
			if scene.only != "" && scene.only != name {
				continue
			}
			t.Run(scene.name+"/"+name, func(t *testing.T) {
				var steady []string
				for _, step := range []time.Duration{0, 3 * time.Hour, -3 * time.Hour} {
					var lines []string
					started(t, scene.file, func(h *harness) {
						scene.before(h)
						l := &timeline{begun: h.begun}
						h.log.AddHook(l)
						h.with(func() { h.ahead = step })
						succeed(h)
						h.pass(15 * time.Minute)
						lines = slices.Sorted(slices.Values(l.lines)) // of one instant in any order
						h.with(func() {
							h.manners, h.deploys = map[string]manner{"v1": good, "v2": good}, map[string]manner{}
						})
						h.signal(syscall.SIGQUIT)
						h.signal(syscall.SIGQUIT)
					})
					if step == 0 {
						steady = lines
						for _, want := range scene.expects {
							if !slices.ContainsFunc(lines, func(l string) bool { return strings.Contains(l, want) }) {
								t.Errorf("without any step %q did not happen:\n%s", want, strings.Join(lines, "\n"))
							}
						}
						continue
					}
					if !slices.Equal(lines, steady) {
						t.Errorf("after a step of %v:\n%s\nwithout:\n%s", step, strings.Join(lines, "\n"), strings.Join(steady, "\n"))
					}
				}
			})
		}
	}
}

// Lines of the journal are found though the clock was set back, or forth.
func TestLoggedSince(t *testing.T) {
	started := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	memo := Memo{Start: 100_000, Since: started} // 1000 s after the kernel
	for step, want := range map[time.Duration]time.Time{
		0: started, 3 * time.Hour: started, -3 * time.Hour: started.Add(-3 * time.Hour),
	} {
		now := started.Add(time.Minute + step)
		if got := memo.loggedSince(now, 1060*time.Second); !got.Equal(want) {
			t.Errorf("after a step of %v: since %v, want %v", step, got, want)
		}
	}
	mono := monotonic()
	if up := uptime(); up < mono {
		t.Errorf("the kernel has been running for %v, and its clock is at %v", up, mono)
	}
}

// Since when a worker has been there is told by the clock as it is now.
func TestToday(t *testing.T) {
	begun := time.Now()
	now := begun.Add(time.Hour)
	if got := today(now, begun); !got.Equal(begun) || got != got.Round(0) {
		t.Errorf("%v, want %v and no reading of another clock", got, begun)
	}
	if got := today(now, time.Time{}); !got.Equal(now) {
		t.Errorf("%v, want %v", got, now)
	}
}
