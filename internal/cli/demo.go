package cli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"fugue/internal/config"
	"fugue/internal/control"
	"fugue/internal/handover"
)

// demoPool is the name of the demo's pool.
const demoPool = "demo"

func (a *app) demoCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Run a pool of built-in workers to play with",
		Long: `Run four built-in HTTP workers on 127.0.0.1:8080 (or a free port), and say what
to try in another terminal. Nothing else is needed.`,
		Args:              arguments(cobra.NoArgs),
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	worker := cmd.Flags().String("worker", "", "be one of the workers, of the release in this file")
	cmd.Flags().Lookup("worker").Hidden = true
	cmd.RunE = action(func(ctx context.Context, _ *cobra.Command, _ []string) error {
		if *worker != "" {
			return demoWorker(*worker, os.Getenv)
		}
		if err := a.born(); err != nil {
			return err
		}
		return a.demo(ctx)
	})
	return cmd
}

// What the demo's next image needs of this one, from an upgrade.
const (
	demoDirVariable     = "FUGUE_DEMO_DIR"
	demoAddressVariable = "FUGUE_DEMO_ADDRESS"
)

func (a *app) demo(ctx context.Context) error {
	if role := os.Getenv(handover.Variable); role != "" {
		return a.demoAgain(ctx, strings.HasPrefix(role, "resume:"))
	}
	// The master would say so too, but below a page of things to try.
	if e, err := a.finder.Find(demoPool); err == nil && e.Running {
		return fmt.Errorf("pool %s runs already", e)
	}
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find the program's own path: %w", err)
	}
	dir, err := os.MkdirTemp("", "fugue-demo-")
	if err != nil {
		return fmt.Errorf("make a directory for the demo: %w", err)
	}
	defer os.RemoveAll(dir)
	g := guide{fugue: typed(os.Args[0], self), release: filepath.Join(dir, "release")}
	if err := os.WriteFile(g.release, []byte("1\n"), 0o644); err != nil {
		return fmt.Errorf("write the demo's first release: %w", err)
	}
	if !haveRuntimeDir(os.Getenv, os.Geteuid()) {
		// Where nobody gave us a place for the control socket, this is one,
		// and the commands printed say where.
		if err := os.Setenv("XDG_RUNTIME_DIR", dir); err != nil {
			return err
		}
		g.fugue = "XDG_RUNTIME_DIR=" + quote(dir) + " " + g.fugue
	}
	if g.address, g.remark, err = demoAddress("127.0.0.1:8080"); err != nil {
		return err
	}
	if err := errors.Join(os.Setenv(demoDirVariable, dir), os.Setenv(demoAddressVariable, g.address)); err != nil {
		return err
	}
	fmt.Fprint(a.out, g)
	return a.runPool(ctx, demoOptions(self, g.release, g.address))
}

// demoAgain is the demo after an upgrade, or in its rehearsal, which ends while
// the demo goes on and leaves its directory alone.
func (a *app) demoAgain(ctx context.Context, resumed bool) error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find the program's own path: %w", err)
	}
	dir := os.Getenv(demoDirVariable)
	if resumed {
		defer os.RemoveAll(dir)
	}
	return a.runPool(ctx, demoOptions(self, filepath.Join(dir, "release"), os.Getenv(demoAddressVariable)))
}

func demoOptions(self, release, address string) RunOptions {
	o := RunOptions{Config: config.Options{Name: demoPool, Listen: []string{"http=" + address}}}
	set := func(key, value string) {
		o.Config.Overrides = append(o.Config.Overrides, config.Override{Key: key, Value: value})
	}
	set("workers", "4")
	literal := strings.NewReplacer("{", "{{", "}", "}}")
	for _, word := range []string{self, "demo", "--worker", release} {
		set("command", literal.Replace(word))
	}
	return o
}

// haveRuntimeDir tells whether there is a place for the control socket.
func haveRuntimeDir(getenv func(string) string, euid int) bool {
	dir, err := control.Dir(getenv, euid, demoPool)
	if err != nil {
		return false
	}
	root := filepath.Dir(filepath.Dir(dir))
	fi, err := os.Stat(root)
	return err == nil && fi.IsDir()
}

// demoAddress is the wished address, or a free port where that is taken.
func demoAddress(wished string) (address, remark string, err error) {
	l, err := net.Listen("tcp", wished)
	if err != nil {
		remark = fmt.Sprintf(" (%s is taken)", wished)
		if l, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			return "", "", fmt.Errorf("find a free port: %w", err)
		}
	}
	defer l.Close()
	return l.Addr().String(), remark, nil
}

// typed is how to call this program again: go run builds it into a directory
// that nobody would type.
func typed(arg0, executable string) string {
	if strings.Contains(executable, "/go-build") && strings.HasPrefix(executable, os.TempDir()) {
		return "go run ."
	}
	return quote(arg0)
}

// quote makes a word safe for a shell.
func quote(s string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("/._-+:@%,", r)
	}
	if s != "" && strings.IndexFunc(s, func(r rune) bool { return !plain(r) }) < 0 {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// guide is what the demo prints.
type guide struct {
	fugue   string // how to call fugue in another terminal
	address string
	remark  string
	release string
}

func (g guide) String() string {
	url := "http://" + g.address
	var b strings.Builder
	fmt.Fprintf(&b, "Four workers serve %s%s; Ctrl-C ends them. In another terminal:\n", url, g.remark)
	try := func(what string, lines ...string) {
		fmt.Fprintf(&b, "\n  # %s\n", what)
		for _, l := range lines {
			fmt.Fprintf(&b, "  %s\n", l)
		}
	}
	release := quote(g.release)
	try("who answers, again and again; leave it running", "while sleep 0.1; do curl -sS "+url+"; done")
	try("a new release, and no answer is missing", "echo 2 > "+release, g.fugue+" reload demo")
	try("a broken one: undone, with the reason, and still no answer is missing", "echo broken > "+release, g.fugue+" reload demo")
	try("the good one back in its place, for workers started from now on", "echo 2 > "+release)
	try("more workers", g.fugue+" scale demo +2")
	try("kill one, and look at its successor", "kill -9 $(curl -sS "+url+"/pid)", g.fugue+" status demo")
	try("all that happens", g.fugue+" events demo")
	b.WriteString("\n")
	return b.String()
}
