package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// The floors are what must stay true of the source as a whole, however it grows:
// who may import whom, one charter for each package, files that can be read at
// one sitting.

// imports says, for each package, what of this module it may import. A package
// that is not here fails the test: it is to be given its place. Imports point
// down only, and siblings do not know each other, so that each can be read,
// tested and replaced alone.
var imports = map[string][]string{
	"":                 {"internal/cli", "internal/handover"}, // main hands os.Args on, unless it is a part of a handover
	"internal/cli":     {below},                               // words for humans around all the rest
	"internal/master":  {"activation", "internal/cgroup", "internal/config", "internal/control", "internal/handover", "internal/launch", "internal/logs", "internal/notify", "internal/pidfile", "internal/proc", "internal/ready", "internal/release", "internal/systemd", "internal/tmpdir", "internal/unread", "internal/watch", "pool", "reload"},
	"internal/sweep":   {"internal/proc", "internal/systemd"},
	"internal/proc":    {"internal/launch", "internal/launch/elf"}, // a child is started through a shim
	"internal/release": {"internal/config", "internal/tmpdir"},     // a release is made from a config; what it asks for must be possible
	"units":            {"internal/config"},                        // a unit's text is made from a config
	"internal/doctor":  {"internal/config"},                        // what was seen, beside what the file wants
	"reload":           {"pool"},                                   // a rollout moves a pool's targets

	"activation":        {"internal/sockdiag"}, // who holds an address that is busy
	"internal/cgroup":   nil,
	"internal/config":   nil,
	"internal/control":  nil,
	"internal/daemon":   nil,
	"internal/handover": nil, // plain data: a state must not change because a type did
	"internal/launch":   nil,
	"internal/logs":     nil,
	"internal/notify":   nil,
	"internal/pidfile":  nil,
	"internal/ready":    nil,
	"internal/systemd":  nil,
	"internal/tmpdir":   nil,
	"internal/unread":   {"internal/sockdiag"}, // how much waits in a connection
	"internal/sockdiag": nil,
	"internal/watch":    nil,
	"pool":              nil,
	"worker":            nil, // users import it, and want nothing of the rest with it

	"internal/launch/elf": {"internal/launch"}, // the same plan, as a program of its own

	"packaging/gen": {"internal/cli", "internal/config"}, // pages from the help texts, a schema from the parser

	// For tests only; see testOnly.
	"internal/testworker":                {"worker"},
	"internal/testworker/cmd/testworker": {"internal/testworker"},
	"internal/loadtest":                  {"internal/testworker"}, // the names of its headers
	"pool/pooltest":                      {"pool", "reload"},
	"e2e":                                {"internal/loadtest", "internal/testworker"},
	"e2e/cli":                            nil,
	"e2e/examples":                       nil,
	"e2e/leaks":                          nil,
	"e2e/servers":                        nil,
	"e2e/packages":                       nil,
	"e2e/storm":                          nil,
	"examples/go/activation":             nil,
	"examples/go/http":                   {"worker"},
	"bench":                              {"internal/control"},                                 // it asks a running pool
	"bench/probe":                        {"internal/cli", "internal/launch", "internal/proc"}, // as large as fugue is
}

// below allows everything but the packages for tests.
const below = "*"

// testOnly must not end up in the binary.
var testOnly = []string{"internal/testworker", "internal/loadtest", "pool/pooltest", "e2e", "e2e/cli", "e2e/examples", "e2e/leaks", "e2e/packages", "e2e/servers", "e2e/storm", "bench", "bench/probe", "packaging/gen"}

// onlyThese lists packages that may import nothing else at all, and why.
var onlyThese = []struct {
	pkg     string
	allowed string
	why     string
}{
	{"pool", "cmp errors fmt maps slices time", "facts in, intentions out: no clock, no chance, no system, so that a story replays the same"},
	{"reload", "cmp errors fmt maps slices time fugue/pool", "as pool"},
	{"internal/launch", "syscall unsafe", "it runs in init, before other packages should have initialised, in every child"},
}

// notInBinary are packages that fugue must not be linked with, at any depth.
var notInBinary = map[string]string{
	"html/template":                "calling methods by name switches dead-code elimination off: 3 MB",
	"testing":                      "it brings flags and code of tests",
	"net/http/pprof":               "it opens debug pages on any default server",
	"expvar":                       "it opens debug pages on any default server",
	"github.com/google/go-cmp/cmp": "for tests",
	"pgregory.net/rapid":           "for tests",
	"github.com/santhosh-tekuri/jsonschema/v6": "for tests",
	"github.com/cpuguy83/go-md2man/v2/md2man":  "for packages",
	"go.uber.org/goleak":                       "for tests",
	"C":                                        "one static binary runs on every root",
}

type listed struct {
	ImportPath, Dir string
	Standard        bool
	Imports         []string
	GoFiles         []string
	Error           *struct{ Err string }
}

func goList(t *testing.T, args ...string) []listed {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list", "-json=ImportPath,Dir,Standard,Imports,GoFiles,Error"}, args...)...)
	cmd.Env = append(cmd.Environ(), "CGO_ENABLED=0")
	out, err := cmd.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		t.Fatalf("go list: %v\n%s", err, exit.Stderr)
	}
	if err != nil {
		t.Fatal(err)
	}
	var all []listed
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listed
		err := d.Decode(&p)
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

// name is a package's path in this module, "" for main; ok says that it is of it.
func name(path string) (string, bool) {
	if path == "fugue" {
		return "", true
	}
	return strings.CutPrefix(path, "fugue/")
}

func TestImportsPointDown(t *testing.T) {
	for _, p := range goList(t, "./...") {
		pkg, _ := name(p.ImportPath)
		if len(p.GoFiles) == 0 {
			continue // tests only: they may look at all
		}
		allowed, known := imports[pkg]
		if !known {
			t.Errorf("%s: not in the table of imports of floors_test.go: give it its place", p.ImportPath)
			continue
		}
		for _, path := range p.Imports {
			dep, ours := name(path)
			if !ours || slices.Contains(allowed, dep) {
				continue
			}
			if slices.Contains(allowed, below) && !slices.Contains(testOnly, dep) {
				continue
			}
			t.Errorf("%s imports %s: imports point down only, and siblings do not know each other", p.ImportPath, path)
		}
	}
}

func TestPackagesThatImportLittle(t *testing.T) {
	for _, rule := range onlyThese {
		allowed := strings.Fields(rule.allowed)
		for _, p := range goList(t, "./"+rule.pkg) {
			for _, path := range p.Imports {
				if !slices.Contains(allowed, path) {
					t.Errorf("%s imports %s, only %s: %s", rule.pkg, path, rule.allowed, rule.why)
				}
			}
		}
	}
	for _, p := range goList(t, "-deps", "./worker") {
		if !p.Standard && p.ImportPath != "fugue/worker" {
			t.Errorf("worker needs %s: users import it, and want nothing else with it", p.ImportPath)
		}
	}
}

func TestWhatIsNotLinked(t *testing.T) {
	for _, p := range goList(t, "-deps", ".") {
		if why, banned := notInBinary[p.ImportPath]; banned {
			t.Errorf("fugue is linked with %s: %s", p.ImportPath, why)
		}
		if dep, ours := name(p.ImportPath); ours && slices.Contains(testOnly, dep) {
			t.Errorf("fugue is linked with %s, which is for tests", p.ImportPath)
		}
	}
}

// eachFile calls f for every Go file that is ours.
func eachFile(t *testing.T, f func(path string)) {
	t.Helper()
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		skip := []string{".git", "testdata", "tools", "dist", "examples"}
		if d.IsDir() && slices.Contains(skip, d.Name()) {
			return filepath.SkipDir
		}
		if !d.IsDir() && strings.HasSuffix(path, ".go") {
			f(path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// A package comment is the package's charter; two of them are two charters.
func TestOnePackageComment(t *testing.T) {
	comments := make(map[string][]string)
	eachFile(t, func(path string) {
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.PackageClauseOnly|parser.ParseComments)
		if err != nil {
			t.Error(err)
			return
		}
		dir := filepath.Dir(path)
		if strings.HasSuffix(path, "_test.go") {
			if file.Doc != nil {
				t.Errorf("%s: a package comment in a test is one too many", path)
			}
			return
		}
		comments[dir] = append(comments[dir], "")
		if file.Doc == nil {
			return
		}
		comments[dir][len(comments[dir])-1] = path
		begins := "Package " + file.Name.Name + " "
		if file.Name.Name == "main" {
			begins = "Command "
		}
		if !strings.HasPrefix(file.Doc.Text(), begins) {
			t.Errorf("%s: the package comment does not begin with %q", path, begins)
		}
	})
	for dir, files := range comments {
		files = slices.DeleteFunc(files, func(path string) bool { return path == "" })
		if len(files) != 1 {
			t.Errorf("package %s has %d package comments %v, want one", dir, len(files), files)
		}
	}
}
