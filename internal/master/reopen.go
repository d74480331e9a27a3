package master

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"time"

	"fugue/internal/config"
	"fugue/internal/control"
	"fugue/pool"
)

// Holder is a worker that holds log files itself.
type Holder struct {
	PID    int
	Signal syscall.Signal // that asks it to open them again
}

// Reopened is what became of the log files.
type Reopened struct {
	Files []string         // that are open again
	Catch map[pool.ID]bool // the holders that catch their signal: of another it would be the end
	Err   error            // about those that are not; they are as they were
}

// reopen opens the log files again, or has the next image do it: the word may
// come at the last moment before an exec. The end of the job is told; a word
// that comes meanwhile is one more.
func (m *Master) reopen() {
	if f := m.reopenDone; f != nil {
		m.reopenDone = nil
		m.tellReopened(f)
	}
	if !m.reopenAsked || m.reopening {
		return
	}
	m.reopenAsked, m.reopening = false, true
	holders := map[pool.ID]Holder{}
	for id, w := range m.workers {
		log := m.generations[w.generation].config.Log
		if holds := log.Stdout.To == config.ToFile || log.Stderr.To == config.ToFile; holds && w.began && log.ReopenSignal != 0 {
			holders[id] = Holder{w.process.PID(), syscall.Signal(log.ReopenSignal)}
		}
	}
	go func() { m.report(reopened{holders, m.world.Reopen(holders)}) }()
}

// reopened: the log files are open again, and those that workers hold are
// theirs to open.
type reopened struct {
	holders map[pool.ID]Holder
	Reopened
}

func (f reopened) apply(m *Master, _ time.Time) { m.reopening, m.reopenDone = false, &f }

// tellReopened passes the signal on, and says what has become of the files.
func (m *Master) tellReopened(f *reopened) {
	said := append([]string(nil), f.Files...)
	var told, deaf []string
	for id, h := range f.holders {
		w := m.workers[id]
		if w == nil {
			continue // it has ended
		}
		who := fmt.Sprintf("%d", w.slot)
		if !f.Catch[id] {
			deaf = append(deaf, who)
			continue
		}
		if err := w.process.Signal(h.Signal); err != nil {
			f.Err = errors.Join(f.Err, fmt.Errorf("send %v to worker %d (pid %d): %w", h.Signal, w.slot, h.PID, err))
			continue
		}
		told = append(told, who)
	}
	if len(told) > 0 {
		slices.Sort(told)
		said = append(said, "the signal went on to worker "+strings.Join(told, ", "))
	}
	if len(deaf) > 0 {
		slices.Sort(deaf)
		said = append(said, "worker "+strings.Join(deaf, ", ")+" holds log files and does not catch the signal: use copytruncate, or reload")
	}
	if len(said) == 0 && f.Err == nil {
		said = append(said, "there are no log files")
	}
	text := strings.Join(said, "; ")
	if f.Err != nil {
		text = strings.TrimPrefix(text+"; not opened again: "+strings.ReplaceAll(f.Err.Error(), "\n", "; "), "; ")
		m.log.Errorf("USR1: %s", text)
	} else {
		m.log.Infof("USR1: %s", text)
	}
	m.events.publish(control.Event{Kind: "reopened", Text: text})
}
