package reload_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"fugue/pool"
	"fugue/pool/pooltest"
	"fugue/reload"
)

func TestStories(t *testing.T) { pooltest.Stories(t, "testdata", commands) }

// commands is what the language has for rollouts.
func commands(w *pooltest.World) map[string]pooltest.Command {
	w.SteerFirst = true // as the loop does
	o := operate(w)
	o.aloud = true
	o.limits = reload.Limits{Strategy: reload.Rolling{MaxSurge: reload.Amount{N: 1}}, Canary: 1, Timeout: 5 * time.Minute}
	number := func(do func(int)) pooltest.Command {
		return func(args []string) error { return pooltest.Number(args, 0, do) }
	}
	return map[string]pooltest.Command{
		// limits [surge A] [unavailable A] [canary N] [bake D] [tolerate N] [timeout D]
		"limits": o.setLimits,
		"start": func(args []string) error { // start G N
			return pooltest.Number(args, 1, func(n int) {
				_ = pooltest.Number(args, 0, func(g int) { o.start(pool.Generation(g), n) })
			})
		},
		"reload": number(func(g int) { o.reload(o.known(g)) }),
		"now":    number(func(g int) { o.cancel(); o.reload(o.known(g)) }), // reload --now
		"cancel": func([]string) error { o.cancel(); return nil },
		"scale":  number(func(n int) { o.scale(n) }),
		"pause":  func([]string) error { o.pause(); return nil },
		"after": func(args []string) error {
			return pooltest.Span(args, 0, func(d time.Duration) { o.Run(d) })
		},
		"show": func([]string) error {
			for _, x := range w.Pool.Workers() {
				w.Note(fmt.Sprintf("slot %d: #%d, generation %d, %v", x.Slot, x.ID, x.Generation, x.State))
			}
			w.Note(fmt.Sprintf("serving: %v, first to go back to first", o.serving))
			return nil
		},
	}
}

func (o *operator) known(g int) *pooltest.Release {
	r := o.Release(pool.Generation(g))
	if r == nil {
		o.Fatalf("release %d is not known", g)
	}
	return r
}

func (o *operator) setLimits(args []string) error {
	l := &o.limits
	for i := 0; i+1 < len(args); i += 2 {
		var err error
		switch value := args[i+1 : i+2]; args[i] {
		case "surge":
			l.Strategy.MaxSurge, err = amount(value[0])
		case "unavailable":
			l.Strategy.MaxUnavailable, err = amount(value[0])
		case "canary":
			err = pooltest.Number(value, 0, func(n int) { l.Canary = n })
		case "tolerate":
			err = pooltest.Number(value, 0, func(n int) { l.Tolerate = n })
		case "bake":
			err = pooltest.Span(value, 0, func(d time.Duration) { l.Bake = d })
		case "timeout":
			err = pooltest.Span(value, 0, func(d time.Duration) { l.Timeout = d })
		default:
			err = fmt.Errorf("what is %q?", args[i])
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func amount(text string) (a reload.Amount, err error) {
	n, percent := strings.CutSuffix(text, "%")
	err = pooltest.Number([]string{n}, 0, func(n int) { a = reload.Amount{N: n, Percent: percent} })
	return a, err
}
