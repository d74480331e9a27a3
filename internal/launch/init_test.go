package launch

import (
	"fmt"
	"go/parser"
	"go/token"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// What is imported here initialises before the shim acts, in every child.
func TestImports(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range f.Imports {
			if p := i.Path.Value; p != `"syscall"` && p != `"unsafe"` {
				t.Errorf("%s imports %s", name, p)
			}
		}
	}
}

// initsBefore is how many packages may initialise before the shim acts, in a
// binary that is full of others: the runtime and the few that it and syscall
// need or that sort before them.
const initsBefore = 16

// fat builds a binary that is full of other packages and imports this one. Its
// main says what it finds.
func fat(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	main := filepath.Join(dir, "main.go")
	if err := os.WriteFile(main, []byte(`package main

import (
	"fmt"
	_ "net/http"
	"os"
	_ "regexp"
	"strings"
	_ "text/template"

	_ "fugue/internal/launch"
)

func main() {
	status, _ := os.ReadFile("/proc/thread-self/status")
	_, mask, _ := strings.Cut(string(status), "SigBlk:\t")
	fmt.Printf("main was reached: %q %q %.16s\n", os.Args[1:], os.Getenv("MARK"), mask)
}
`), 0o644); err != nil {
		t.Fatal(err)
	}
	bin := filepath.Join(dir, "fat")
	// The file is compiled as if it lay here, where internal may be imported.
	overlay := filepath.Join(dir, "overlay.json")
	cwd, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	virtual := filepath.Join(cwd, "fatmain", "main.go")
	if err := os.WriteFile(overlay, []byte(`{"Replace": {"`+virtual+`": "`+main+`"}}`), 0o644); err != nil {
		t.Fatal(err)
	}
	build := exec.Command("go", "build", "-overlay", overlay, "-o", bin, "fugue/internal/launch/fatmain")
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return bin
}

// A master is started anew before the packages of a fat binary initialise, with
// its signals blocked, and with all that it was given; nobody else is.
func TestMasterIsBornBlocked(t *testing.T) {
	bin := fat(t)
	long := strings.Repeat("x", 10_000)
	for word, reborn := range map[string]int{"run": 1, "demo": 1, "status": 0, "": 0} {
		args := []string{word, "a b", "", long, ""}
		cmd := exec.Command(bin, args...)
		cmd.Env = []string{"MARK=here", "GODEBUG=inittrace=1"}
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		var mask uint64
		for _, sig := range Blocked() {
			mask |= 1 << (sig - 1)
		}
		if reborn == 0 {
			mask = 0
		}
		if want := fmt.Sprintf("main was reached: %q %q %016x\n", args, "here", mask); strings.Count(string(out), want) != 1 {
			t.Errorf("%q: want %q in\n%s", word, want, out)
		}
		lives := strings.Split(string(out), "init runtime @")[1:]
		if len(lives) != 1+reborn {
			t.Fatalf("%q: %d lives, want %d:\n%s", word, len(lives), 1+reborn, out)
		}
		if n := strings.Count(lives[0], "init "); reborn == 1 && n > initsBefore {
			t.Errorf("%q: %d packages initialised before the new start:\n%s", word, n, out)
		}
	}
}

// The shim acts before the packages of a fat binary initialise: that is a
// millisecond and more for each start of a worker.
func TestActsBeforeOthersInitialise(t *testing.T) {
	dir, bin := t.TempDir(), fat(t)
	plan, err := os.Create(filepath.Join(dir, "plan"))
	if err != nil {
		t.Fatal(err)
	}
	defer plan.Close()
	p := Plan{Path: "/bin/echo", Args: []string{"echo", "executed"}, Umask: -1, UID: -1, GID: -1}
	if _, err := plan.Write(p.Encode()); err != nil {
		t.Fatal(err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	cmd := exec.Command(bin)
	cmd.Env = append(Environ(3, 4), "GODEBUG=inittrace=1")
	cmd.ExtraFiles = []*os.File{plan, w}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	_ = w.Close()
	report, err := io.ReadAll(r)
	if err != nil || ParseReport(report, nil) != (Report{Reached: true}) {
		t.Errorf("report %q, %v", report, err)
	}
	if !strings.Contains(string(out), "executed\n") || strings.Contains(string(out), "main was reached") {
		t.Errorf("output:\n%s", out)
	}
	if n := strings.Count(string(out), "init "); n > initsBefore {
		t.Errorf("%d packages initialised before the shim acted:\n%s", n, out)
	} else {
		t.Logf("%d before:\n%s", n, out)
	}
}

// Set by hand, the variable must not make a fugue do anything.
func TestVariableByHand(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range []string{"1", "", "88,99", "0,1"} {
		cmd := exec.Command(exe)
		cmd.Env = []string{Variable + "=" + v}
		out, err := cmd.CombinedOutput()
		if cmd.ProcessState.ExitCode() != 127 {
			t.Errorf("%q: %v\n%s", v, err, out)
		}
	}
}
