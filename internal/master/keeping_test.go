package master

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"time"

	"fugue/activation"
	"fugue/internal/proc"
)

// Save appends as long as it may, but now and then writes the whole.
func (w *world) Save(news []byte, whole func() ([]byte, error)) error {
	if w.onSave != nil {
		w.onSave(false)
		defer w.onSave(true)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.saveErr != nil {
		w.lossy = true
		return w.saveErr
	}
	w.saves++
	if len(news) > 0 && (w.saves%10 > 0 || w.append) {
		w.saved = append(slices.Clip(w.saved), news...)
		return nil
	}
	state, err := whole()
	w.saved = state
	return err
}

func (w *world) Rehearse(ctx context.Context, state []byte) error {
	w.mu.Lock()
	long, dead := w.rehearsing, w.dead
	w.rehearsals++
	w.mu.Unlock()
	defer w.with(func() { w.rehearsals-- })
	select {
	case <-time.After(long):
	case <-ctx.Done():
		return ctx.Err()
	case <-dead:
	}
	_, err := decode(state, "web")
	return errors.Join(err, w.rehearsal)
}

func (w *world) Depart(context.Context) {
	w.mu.Lock()
	long, dead := w.departs, w.dead
	w.away = true
	w.mu.Unlock()
	select {
	case <-time.After(long):
	case <-dead:
	}
}

func (w *world) Signals() []proc.Signal {
	late := w.late
	w.late = nil
	return late
}

func (w *world) Pass([]Process, *activation.Set) (*savedExec, error) { return &savedExec{}, nil }

// Exec ends the master's goroutine where it stands, as an exec does.
func (w *world) Exec() error {
	if w.execErr != nil {
		return w.execErr
	}
	w.execs++
	w.executed()
	runtime.Goexit()
	return nil
}

func (w *world) Return() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.returns++
	w.away = false
}
