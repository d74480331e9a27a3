package cli_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// What a worker leaves behind is gone before anything takes its place.
func TestGrandchildren(t *testing.T) {
	p := start(t, "-children", "2")
	worker := p.status().Workers[0]
	if group := members(t, worker.PID); len(group) != 3 {
		t.Fatalf("the group of worker %d is %v", worker.PID, group)
	}
	if err := syscall.Kill(worker.PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	p.await(fmt.Sprintf("worker 1 (pid %d) of generation 1 ", worker.PID)) // its end
	p.await("worker 1 (pid ")                                              // the next
	if left := members(t, worker.PID); len(left) > 0 {
		t.Errorf("left of worker %d when its replacement started: %v", worker.PID, left)
	}
}

// members are the living processes of a group.
func members(t *testing.T, group int) (pids []string) {
	t.Helper()
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range stats {
		stat, _ := os.ReadFile(path) // gone meanwhile
		_, rest, _ := bytes.Cut(stat, []byte(") "))
		if f := strings.Fields(string(rest)); len(f) > 2 && f[2] == fmt.Sprint(group) && f[0] != "Z" && f[0] != "X" {
			pids = append(pids, filepath.Base(filepath.Dir(path)))
		}
	}
	return pids
}
