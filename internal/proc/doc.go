// Package proc is one child process: start it, watch it, signal it, reap it,
// or adopt it from a master that is gone.
//
// A process is always named by its pidfd, never by a number that may have
// passed to another. Nothing here waits on a thread: exits and reports arrive
// through the netpoller, so a thousand children cost no thread. When an exit
// is told, what the worker left behind in its process group is dead already, or
// has been killed, and Reap says that it is still there (Spec.AskGroup).
package proc
