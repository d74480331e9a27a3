package logs

import (
	"errors"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// peek waits for what is in a pipe and copies it, as tee(2) does: it stays there
// until consume, when it has been written where it is to go. A master that is
// killed in between takes no line along; its successor finds it in the pipe, and
// may write it once more. left is false where there is no descriptor to copy
// through: then it has been taken out, and that is as safe as it gets.
func peek(pipe *os.File, buf []byte) (n int, left bool, err error) {
	var through [2]int
	if err := unix.Pipe2(through[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		n, err := pipe.Read(buf)
		return n, false, err
	}
	defer closeAll(through[:]...)
	conn, err := pipe.SyscallConn()
	if err != nil {
		return 0, true, err
	}
	var seen int64
	var failed error
	err = conn.Read(func(fd uintptr) (over bool) {
		for {
			seen, failed = unix.Tee(int(fd), through[1], len(buf), unix.SPLICE_F_NONBLOCK)
			if !errors.Is(failed, unix.EINTR) {
				return !errors.Is(failed, unix.EAGAIN)
			}
		}
	})
	switch {
	case err != nil:
		return 0, true, err
	case failed != nil:
		return 0, true, os.NewSyscallError("tee", failed)
	case seen == 0:
		return 0, true, io.EOF
	}
	// What has been copied is there at once, page by page.
	for n < int(seen) {
		k, err := unix.Read(through[0], buf[n:seen])
		if err != nil && !errors.Is(err, unix.EINTR) {
			return 0, true, os.NewSyscallError("read", err)
		}
		n += max(k, 0)
	}
	return n, true, nil
}

// consume takes out what has been written. It is there, so it is not waited for,
// and done also while the stream is being detached; unless the worker has read its
// own output, which is then its business.
func consume(pipe *os.File, b []byte) error {
	conn, err := pipe.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = conn.Control(func(fd uintptr) {
		for done := 0; done < len(b); {
			var n int
			n, failed = unix.Read(int(fd), b[done:])
			if n <= 0 && !errors.Is(failed, unix.EINTR) {
				return
			}
			done += max(n, 0)
		}
	})
	if errors.Is(failed, unix.EAGAIN) {
		failed = nil
	}
	return errors.Join(err, failed)
}
