package cgroup

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// What the kernel says is reckoned with as it says it.
func TestMemoryIsWithoutTheCache(t *testing.T) {
	b := Base{Dir: t.TempDir(), Path: "/unit"}
	path := b.Path + "/worker-1.x"
	dir := filepath.Join(b.Dir, "worker-1.x")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	set := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := b.Memory(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without the controller: %v", err)
	}
	set("memory.current", "1000\n")
	set("memory.stat", "anon 500\nfile 400\ninactive_file 300\nactive_file 50\n")
	if used, err := b.Memory(path); used != 650 || err != nil {
		t.Errorf("%d, %v", used, err)
	}
	set("memory.stat", "inactive_file 900\nactive_file 200\n") // read later
	if used, err := b.Memory(path); used != 0 || err != nil {
		t.Errorf("%d, %v", used, err)
	}
	for name, text := range map[string]string{"memory.current": "max\n", "memory.stat": "anon 1\n"} {
		set("memory.current", "1000\n")
		set(name, text)
		if used, err := b.Memory(path); err == nil {
			t.Errorf("%s is %q: %d", name, text, used)
		}
	}
	if _, err := b.Memory("/elsewhere/worker-1.x"); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("another's: %v", err)
	}
}

// It is the kernel's word where there is a controller, and known not to be there
// where there is none. Whoever is in the cgroup is known in both cases.
func TestMemoryOfACgroup(t *testing.T) {
	b := delegated(t)
	there, err := words(filepath.Join(b.Dir, "cgroup.controllers"))
	if err != nil {
		t.Fatal(err)
	}
	has := slices.Contains(there, "memory")
	t.Logf("memory controller: %v", has)
	var l Limits
	if has {
		l.MemoryMax = 1 << 30
	}
	path, err := b.Make(1, l)
	if err != nil {
		t.Fatal(err)
	}
	below := filepath.Join(b.Dir, filepath.Base(path), "below")
	if err := os.Mkdir(below, 0o755); err != nil {
		t.Fatal(err)
	}
	one, _ := occupy(t, filepath.Dir(below))
	two, _ := occupy(t, below)
	switch used, err := b.Memory(path); {
	case has && (err != nil || used < 1<<12 || used > 1<<30):
		t.Errorf("%d, %v", used, err)
	case !has && !errors.Is(err, fs.ErrNotExist):
		t.Errorf("%d, %v", used, err)
	}
	pids := b.Processes(path)
	slices.Sort(pids)
	want := []int{one, two}
	slices.Sort(want)
	if !slices.Equal(pids, want) {
		t.Errorf("processes %v, want %v", pids, want)
	}
	if pids := b.Processes("/elsewhere/worker-1.x"); pids != nil {
		t.Errorf("another's: %v", pids)
	}
}
