package ready

import "golang.org/x/sys/unix"

func oldWaitKind(number int64) wait {
	switch number {
	case unix.SYS_EPOLL_WAIT:
		return waitEpoll
	case unix.SYS_POLL:
		return waitPoll
	case unix.SYS_SELECT:
		return waitSelect
	}
	return waitNone
}
