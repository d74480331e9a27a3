package master

import (
	"bytes"
	"testing/synctest"
	"time"

	"fugue/activation"
	"fugue/pool"
)

// sameAgain checks that a master made of the state that is written down now
// would write down the same: what it does not take up is lost.
func (h *harness) sameAgain() {
	h.Helper()
	synctest.Wait()
	_ = h.m.ask(h.ctx, func(*Master, time.Time) { h.sameAgainNow() })
}

// sameAgainNow is sameAgain on the loop.
func (h *harness) sameAgainNow() {
	h.Helper()
	h.mu.Lock()
	b := h.saved
	h.mu.Unlock()
	if b == nil || h.m.scribe.behind {
		return // this master has written nothing yet
	}
	s, err := decode(b, "web")
	if err != nil {
		h.Error(err)
		return
	}
	upgrading := h.m.changes.running != nil && h.m.changes.running.Kind == kindUpgrade // or was, until a stop came
	if s.Master.Ended || s.Master.Leaving || h.m.handing != nil || upgrading {
		return // a successor goes on from there in a way of its own
	}
	s.Exec = &savedExec{Events: h.m.events.save()}
	m := New(h.m.opts, h.world)
	m.log = quiet()
	close(m.ended) // it hears nothing
	m.scribe = newScribe(h.m.scribe.header, h.m.scribe.dial)
	in := Inheritance{State: s, Handover: true, Held: h.m.sockets, Sockets: map[pool.Generation]*activation.Set{}}
	for g, gen := range h.m.generations {
		in.Sockets[g] = gen.sockets
	}
	m.restore(time.Now(), in)
	_, err = m.scribe.update(m)
	again, _ := m.scribe.whole()
	now, _ := h.m.scribe.whole()
	for _, w := range m.workers {
		w.stopLooking()
	}
	if err != nil || !bytes.Equal(again, now) {
		h.Errorf("%v: of the state\n%s\na master makes\n%s\nand this one has\n%s", err, b, again, now)
	}
}
