package cli_test

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"fugue/e2e"
)

// A master that has come up gives back what of its program only the start used;
// and it still knows how to reload.
func TestProgramIsGivenBack(t *testing.T) {
	p := start(t)
	for late := time.Now().Add(guard); ; {
		size, resident := p.program()
		if resident < size/2 {
			break
		}
		if time.Now().After(late) {
			t.Fatalf("%d of %d KiB of the program are resident", resident, size)
		}
	}
	if code, _, errs := ask(t, p.fugue("reload", "web")); code != 0 {
		t.Errorf("reload: exit %d\n%s", code, errs)
	}
}

// program is how much of the master's memory is its program, as it is in the
// file, and how much of that is resident, in KiB.
func (p *pool) program() (size, resident int) {
	p.t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps", p.run.Process.Pid))
	if err != nil {
		p.t.Fatal(err)
	}
	ours := false
	for line := range strings.Lines(string(text)) {
		words := strings.Fields(line)
		switch {
		case strings.Contains(words[0], "-"):
			ours = words[len(words)-1] == e2e.Fugue(p.t) && words[1][1] == '-'
		case ours && words[0] == "Size:":
			size += number(p.t, words[1])
		case ours && words[0] == "Rss:":
			resident += number(p.t, words[1])
		}
	}
	return size, resident
}

func number(t *testing.T, text string) int {
	t.Helper()
	var n int
	if _, err := fmt.Sscan(text, &n); err != nil {
		t.Fatal(err)
	}
	return n
}
