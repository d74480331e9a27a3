// Package handover is what outlives a master: the container of its state, the
// rehearsal of a successor, the exec in place, and the guard that no signal is
// lost or deadly meanwhile.
//
// What the state says is the master's business: here it is bytes. Nothing here
// belongs on the master's loop but Slots.Write and Exec: the rest waits for
// other processes.
//
// A handover: StartGuard, take the signals that came before, Rehearse, Slots.Write,
// Exec. In the next image: FromEnv, watch signals, release the guard, FromFD.
//
// A program that uses Rehearse or StartGuard calls Main before anything else:
// both start the running image anew for parts that need a process of their own.
package handover
