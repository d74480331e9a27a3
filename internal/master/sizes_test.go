package master

import (
	"os"
	"reflect"
	"testing/synctest"
)

// openFiles is how many this process has open.
func (h *harness) openFiles() int {
	h.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		h.Fatal(err)
	}
	return len(list)
}

// sizes checks how much the master remembers. It may look into the master
// because the loop is at rest.
func (h *harness) sizes(want map[string]int) {
	h.Helper()
	synctest.Wait()
	m := h.m
	got := map[string]int{
		"generations": len(m.generations), "workers": len(m.workers), "changes": len(m.changes.list),
		"pool":      reflect.ValueOf(m.pool).Elem().FieldByName("generations").Len(),
		"followers": len(m.events.followers), "slots": len(m.slots), "leftovers": len(m.leftovers),
	}
	for name, n := range want {
		if got[name] != n {
			h.Errorf("%s: %d, want %d", name, got[name], n)
		}
	}
	if n := len(m.obits.list); n > 64 {
		h.Errorf("%d obituaries", n)
	}
}
