package master

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"fugue/internal/handover"
	"fugue/pool"
)

// BenchmarkStateWrite is what each settled change costs: one worker is new, the
// others are as they were.
func BenchmarkStateWrite(b *testing.B) {
	for _, n := range []int{4, 1000} {
		b.Run(fmt.Sprintf("workers=%d", n), func(b *testing.B) {
			m := manyWorkers(b, n)
			slots, err := handover.Create(filepath.Join(b.TempDir(), "state"))
			if err != nil {
				b.Fatal(err)
			}
			defer slots.Close()
			h := &host{slots: slots}
			var bytes int
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				m.dropped = i
				m.workers[pool.ID(1+i%n)].status = fmt.Sprint("request ", i)
				news, err := m.scribe.update(m)
				if err == nil {
					err = h.Save(news, m.scribe.whole)
				}
				if err != nil {
					b.Fatal(err)
				}
				bytes += len(news)
			}
			b.ReportMetric(float64(bytes)/float64(b.N), "bytes/write")
		})
	}
}

// manyWorkers is a master at rest.
func manyWorkers(t testing.TB, n int) *Master {
	s, err := decode(golden(t), "web")
	if err != nil {
		t.Fatal(err)
	}
	w := &world{processes: map[int]*process{}, stored: map[string]int{}}
	m := New(Options{Name: "web", Version: "1", Log: quiet(), Clock: func() time.Duration { return time.Hour }}, w)
	m.scribe = newScribe(m.header(), newDial(m.opts.Clock))
	one := s.Workers[0]
	s.Workers = nil
	for i := range n {
		one.ID, one.Slot, one.PID = pool.ID(i+1), i+1, 5_000_000+i
		s.Workers = append(s.Workers, one)
	}
	m.restorePool(Inheritance{State: s}, m.scribe.dial)
	m.changes.restore(s.Master, m.scribe.dial)
	m.current = s.Master.Current
	for _, row := range s.Workers {
		m.workers[row.ID] = &worker{id: row.ID, slot: row.Slot, generation: row.Generation, memo: row.Memo, process: w.process(row.PID, good)}
		*m.slot(row.Slot) = slotPast{1, "exit status 1"}
	}
	return m
}
