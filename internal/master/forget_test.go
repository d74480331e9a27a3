package master

import (
	"encoding/json"
	"fmt"
	"os"
	"reflect"
	"runtime"
	"strings"
	"testing"
)

func TestForgetProgram(t *testing.T) {
	program, err := os.Readlink("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Open("/proc/self/smaps")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	list, err := unwritten(f, program)
	if err != nil || len(list) == 0 {
		t.Fatalf("%v, %v", list, err)
	}
	mem, err := os.Open("/proc/self/mem")
	if err != nil {
		t.Fatal(err)
	}
	defer mem.Close()
	for _, a := range list { // all of it is used
		if _, err := mem.ReadAt(make([]byte, a.to-a.from), int64(a.from)); err != nil {
			t.Fatal(err)
		}
	}
	before := resident(t, list)
	if err := forgetProgram(); err != nil {
		t.Fatal(err)
	}
	after := resident(t, list)
	t.Logf("%d KiB of the program were resident, and are %d", before, after)
	if after > before/2 {
		t.Errorf("%d KiB of the program were resident, and %d still are", before, after)
	}
	// It goes on: code and constants come back, and what was written is there.
	runtime.GC()
	text, err := json.Marshal(map[string]any{"program": program, "areas": len(list)})
	if want := fmt.Sprintf(`{"areas":%d,"program":%q}`, len(list), program); err != nil || string(text) != want {
		t.Errorf("%s, %v; want %s", text, err, want)
	}
}

// resident is how many KiB of these areas are in memory.
func resident(t *testing.T, list []area) (kib int) {
	t.Helper()
	text, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range list {
		_, rest, found := strings.Cut("\n"+string(text), fmt.Sprintf("\n%08x-%08x ", a.from, a.to))
		if !found {
			t.Fatalf("no area %x-%x", a.from, a.to)
		}
		_, rest, _ = strings.Cut(rest, "\nRss:")
		var n int
		if _, err := fmt.Sscanf(rest, "%d kB", &n); err != nil {
			t.Fatal(err)
		}
		kib += n
	}
	return kib
}

func TestUnwritten(t *testing.T) {
	const program = "/usr/bin/fugue"
	text := func(header, anonymous, swap string) string {
		return header + "\nSize: 4 kB\nRss: 4 kB\nAnonymous:             " + anonymous + " kB\nSwap:                  " + swap + " kB\nVmFlags: rd ex mr mw me\n"
	}
	smaps := text("00400000-0089a000 r-xp 00000000 fe:00 1234                               /usr/bin/fugue", "0", "0") +
		text("0089a000-00d4e000 r--p 0049a000 fe:00 1234                               /usr/bin/fugue", "0", "0") +
		text("00d4e000-00dad000 rw-p 0094e000 fe:00 1234                               /usr/bin/fugue", "0", "0") +
		text("00dad000-00dae000 r--p 0094e000 fe:00 1234                               /usr/bin/fugue", "4", "0") +
		text("00dae000-00daf000 r--p 0094e000 fe:00 1234                               /usr/bin/fugue", "0", "4") +
		text("00daf000-00db0000 r--s 0094e000 fe:00 1234                               /usr/bin/fugue", "0", "0") +
		text("00db0000-00db1000 ---p 0094e000 fe:00 1234                               /usr/bin/fugue", "0", "0") +
		text("00db1000-02df0000 rw-p 00000000 00:00 0", "88", "0") +
		text("7ff25da10000-7ff25db66000 r-xp 00026000 fe:00 99                         /usr/lib/libc.so.6", "0", "0") +
		text("7ff25dbdd000-7ff25dbdf000 r-xp 00000000 00:00 0                          [vdso]", "0", "0")
	list, err := unwritten(strings.NewReader(smaps), program)
	if want := []area{{0x400000, 0x89a000}, {0x89a000, 0xd4e000}}; err != nil || !reflect.DeepEqual(list, want) {
		t.Errorf("%x, %v; want %x", list, err, want)
	}
	if _, err := unwritten(strings.NewReader("nonsense\n"), program); err == nil {
		t.Error("nonsense is no error")
	}
	// Replaced by an upgrade; the link and the list say it alike.
	gone := program + " (deleted)"
	list, err = unwritten(strings.NewReader(strings.ReplaceAll(smaps, program, gone)), gone)
	if err != nil || len(list) != 2 {
		t.Errorf("%x, %v", list, err)
	}
}
