package release

import (
	"os/exec"
	"syscall"
	"testing"
)

// runsAs executes a program as somebody else; the error is that of execve(2).
func runsAs(t *testing.T, path string, uid, gid int) error {
	t.Helper()
	cmd := exec.Command(path)
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid), Groups: []uint32{uint32(gid)}}}
	err := cmd.Start()
	if err == nil {
		cmd.Wait() // what the script itself says does not count
	}
	return err
}
