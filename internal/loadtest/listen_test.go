package loadtest

import "syscall"

// listen changes the queue's length of a socket that listens already.
func listen(fd, backlog int) error { return syscall.Listen(fd, backlog) }
