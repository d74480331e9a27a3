package master

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// forgetProgram gives back the memory in which our own program is mapped. Most
// of it only a start or a reload has used, and a master at rest needs next to
// none; what is used again comes back from the page cache without a read of the
// disk. The kernel may take such pages at any time: they are what the file is.
func forgetProgram() error {
	program, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return fmt.Errorf("find our own program: %w", err)
	}
	smaps, err := os.Open("/proc/self/smaps")
	if err != nil {
		return fmt.Errorf("look at our own memory: %w", err)
	}
	defer smaps.Close()
	list, err := unwritten(smaps, program)
	if err != nil {
		return fmt.Errorf("look at our own memory: %w", err)
	}
	for _, a := range list {
		if _, _, errno := syscall.Syscall(syscall.SYS_MADVISE, a.from, a.to-a.from, unix.MADV_DONTNEED); errno != 0 {
			return fmt.Errorf("give back the memory from %x to %x: %w", a.from, a.to, errno)
		}
	}
	return nil
}

// area is a part of our memory.
type area struct{ from, to uintptr }

// unwritten are the areas (proc_pid_smaps(5)) that hold the program as the file
// has it. What can be written is none, nor is what was: constants that a linker
// relocated, code in which a debugger has set a breakpoint. Those pages would
// come back as they are in the file.
func unwritten(smaps io.Reader, program string) (list []area, err error) {
	var here area
	ours := false // the last of the list is the area that the lines are about
	in := bufio.NewScanner(smaps)
	for in.Scan() {
		line := in.Text()
		key, value, _ := strings.Cut(line, " ")
		if !strings.HasSuffix(key, ":") {
			var mode string
			if _, err := fmt.Sscanf(line, "%x-%x %s", &here.from, &here.to, &mode); err != nil {
				return nil, fmt.Errorf("%q: %w", line, err)
			}
			ours = strings.HasPrefix(mode, "r-") && strings.HasSuffix(mode, "p") && strings.HasSuffix(line, " "+program)
			if ours {
				list = append(list, here)
			}
			continue
		}
		if ours && (key == "Anonymous:" || key == "Swap:") && strings.TrimSpace(value) != "0 kB" {
			list, ours = list[:len(list)-1], false
		}
	}
	return list, in.Err()
}
