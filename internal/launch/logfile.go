package launch

import "syscall"

const (
	// LogMode are the permission bits of a log file that is made, less the umask.
	LogMode = 0o640
	// LogFlags are how a log file is opened, together with O_NOFOLLOW, whose
	// number is not the same everywhere.
	LogFlags = syscall.O_WRONLY | syscall.O_APPEND | syscall.O_CREAT | syscall.O_NONBLOCK | syscall.O_NOCTTY
)

// LogWords are what a report calls the steps on the way to a log file.
type LogWords struct{ Close, Open, Judge, Settle string }

// LogSteps names the four system calls that put a log file on descriptor 1 or
// 2. None needs the result of another: the lowest that is closed is what
// open(2) gives next, and those below are open.
//
// Whoever may write to the directory may put there what he likes, to get at
// what the worker writes or to hold it up. O_NOFOLLOW refuses a link, and
// O_NONBLOCK a FIFO without a reader, where an open would wait for ever. A FIFO
// with one, a terminal and every other device are refused by
// sync_file_range(2): told to do nothing, it fails for what has no pages in a
// file system. It lets block devices pass; who may write to those needs no
// trick. Then O_NONBLOCK goes, which is nothing to a file.
func LogSteps(path string, fd int) LogWords {
	stream := "standard output"
	if fd == 2 {
		stream = "standard error"
	}
	return LogWords{
		Close:  "make room for " + stream,
		Open:   "open " + path + " for " + stream,
		Judge:  "use " + path + " for " + stream + ", which has to be a regular file",
		Settle: "settle " + path + " for " + stream,
	}
}
