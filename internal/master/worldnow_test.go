package master

import "syscall"

// What the world counts is written by processes and jobs; a scene reads it
// under the lock.

// bornNow is how many processes there have been.
func (w *world) bornNow() (n int) {
	w.with(func() { n = w.born })
	return n
}

// looksNow is how often unread connections have been looked for.
func (w *world) looksNow() (n int) {
	w.with(func() { n = w.looks })
	return n
}

// toldNow is how often a master sent the process its stop signal.
func (p *process) toldNow() (n int) {
	p.world.with(func() { n = *p.told })
	return n
}

// lastNow is the signal that the process got last; 0: none.
func (p *process) lastNow() (sig syscall.Signal) {
	p.world.with(func() { sig = p.last })
	return sig
}
