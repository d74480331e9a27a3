package logs

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Rights are those that a file is opened with.
type Rights struct {
	UID, GID int // -1: ours
	Groups   []int
}

// OurRights are the rights of this process.
func OurRights() Rights { return Rights{UID: -1, GID: -1} }

// errOtherRights is why we cannot have somebody's rights.
var errOtherRights = errors.New("this process cannot take the rights of another user")

// do calls f with these rights. The kernel has them by thread; this one ends
// with f, so that nothing else is ever done with them. Only the rights to files
// change: the thread stays safe from the user's signals and debuggers.
func (r Rights) do(f func() error) error {
	if r.UID < 0 && r.GID < 0 {
		return f()
	}
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with this function
		if err := r.take(); err != nil {
			done <- err
			return
		}
		done <- f()
	}()
	return <-done
}

// take is groups, then group, then user: each needs what the next gives up.
func (r Rights) take() error {
	if os.Geteuid() != 0 && (r.UID < 0 || r.UID == os.Geteuid()) && r.Groups == nil {
		return r.ids() // a master that is not root, and workers of its own user
	}
	groups := make([]uint32, len(r.Groups), len(r.Groups)+1)
	for i, g := range r.Groups {
		groups[i] = uint32(g)
	}
	// Not syscall.Setgroups, which changes every thread.
	_, _, errno := unix.RawSyscall(unix.SYS_SETGROUPS, uintptr(len(groups)), uintptr(unsafe.Pointer(unsafe.SliceData(groups))), 0)
	runtime.KeepAlive(groups)
	if errno != 0 {
		return fmt.Errorf("%w: set groups: %w", errOtherRights, errno)
	}
	return r.ids()
}

// ids sets those that the kernel looks at for files. The calls tell no error,
// only what was before: asked again they say whether it worked.
func (r Rights) ids() error {
	for _, id := range []struct {
		want int
		set  func(int) (int, error)
	}{{r.GID, unix.SetfsgidRetGid}, {r.UID, unix.SetfsuidRetUid}} {
		if id.want < 0 {
			continue
		}
		if _, err := id.set(id.want); err != nil {
			return fmt.Errorf("%w: %w", errOtherRights, err)
		}
		if now, err := id.set(-1); err != nil || now != id.want {
			return errOtherRights
		}
	}
	return nil
}
