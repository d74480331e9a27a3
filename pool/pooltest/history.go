package pooltest

import (
	"fmt"
	"time"
)

// Event is one thing that happened. It is only put into words when somebody
// reads it: random runs make millions.
type Event struct {
	At   time.Duration
	Kind string
	Proc *Proc // nil: Text says it all
	Text string

	Old, New int // of Kind "targets": how many are wanted of what is left, and of what is gone to
}

func (w *World) note(e Event) {
	e.At = w.Since()
	w.History = append(w.History, e)
}

// Note records what somebody else did.
func (w *World) Note(text string) { w.note(Event{Text: text}) }

// NoteTargets records a step of a rollout.
func (w *World) NoteTargets(phase string, before, after int) {
	w.note(Event{Kind: "targets", Text: phase, Old: before, New: after})
}

// String is the line in a recorded story.
func (e Event) String() string {
	at := fmt.Sprintf("%-8v ", e.At.Round(time.Millisecond))
	switch {
	case e.Kind == "targets":
		return fmt.Sprintf("%s%s: %d old, %d new", at, e.Text, e.Old, e.New)
	case e.Proc == nil:
		return at + e.Text
	case e.Kind == "spawn":
		return fmt.Sprintf("%sspawn #%d in slot %d, generation %d", at, e.Proc.ID, e.Proc.Slot, e.Proc.Release.Number)
	case e.Kind == "stop" || e.Kind == "kill":
		return fmt.Sprintf("%s%s #%d: %s", at, e.Kind, e.Proc.ID, e.Text)
	case e.Kind == "exited":
		return fmt.Sprintf("%s#%d exited: %s", at, e.Proc.ID, e.Text)
	case e.Kind == "ready":
		return fmt.Sprintf("%s#%d is ready", at, e.Proc.ID)
	case e.Kind == "available":
		return fmt.Sprintf("%s#%d is available", at, e.Proc.ID)
	}
	return fmt.Sprintf("%s#%d %s", at, e.Proc.ID, e.Kind)
}
