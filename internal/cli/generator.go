package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"

	"fugue/internal/release"
	"fugue/units"
)

// GeneratorName is what the program is called by as a systemd.generator(7).
const GeneratorName = "fugue-generator"

// generatorMemory is what the generator takes, in bytes, before it looks for what
// it could give back; a hundred files need a tenth of it.
const generatorMemory = 128 << 20

// Generator makes units of /etc/fugue if the program was called as a generator,
// with os.Args; ours tells. It exits 0 whatever it finds: a boot must not fail
// because of a file of ours, and what is wrong stands in the units.
func Generator(args []string) (code int, ours bool) {
	if len(args) == 0 || filepath.Base(args[0]) != GeneratorName {
		return 0, false
	}
	// Its standard error is the journal's, or the kernel's log at boot.
	log := func(line string) { fmt.Fprintln(os.Stderr, "fugue-generator: "+line) }
	if len(args) < 2 {
		log("it is for systemd to call, with the directories for units; to see units: fugue units FILE")
		return 2, true
	}
	defer func() {
		if p := recover(); p != nil {
			log(fmt.Sprint("stopped: ", p))
		}
	}()
	if os.Getenv("SYSTEMD_IN_INITRD") == "1" {
		return 0, true // pools are the host's
	}
	// It lives for some milliseconds: what it does not use any more goes with it.
	debug.SetGCPercent(-1)
	debug.SetMemoryLimit(generatorMemory)
	g := units.Generator{
		Etc: "/etc/fugue", Out: args[1], Places: units.SystemPlaces(os.Getenv),
		Options: units.Options{Version: units.Running("/"), Program: ownProgram(), HasUser: release.HasUser}, Log: log,
	}
	g.Run()
	return 0, true
}

// ownProgram is the name by which units should start this program: one that
// stays when a package replaces the file.
func ownProgram() string {
	exe, err := os.Executable()
	if err != nil {
		return units.Program
	}
	own, err := os.Stat(exe)
	if err != nil {
		return units.Program
	}
	for _, path := range []string{units.Program, "/usr/local/bin/fugue"} {
		if info, err := os.Stat(path); err == nil && os.SameFile(info, own) {
			return path
		}
	}
	if filepath.Base(exe) == GeneratorName {
		return units.Program // a copy of its own, beside the program
	}
	return exe
}
