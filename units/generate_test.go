package units

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// generator works in directories of the test.
func generator(t testing.TB, files map[string]string) (*Generator, *[]string) {
	t.Helper()
	dir := t.TempDir()
	for _, sub := range []string{"etc", "out", "units", "init"} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for path, text := range files {
		path = filepath.Join(dir, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	var log []string
	return &Generator{
		Etc: filepath.Join(dir, "etc"), Out: filepath.Join(dir, "out"),
		Places:  Places{Dirs: []string{filepath.Join(dir, "units")}, Init: filepath.Join(dir, "init")},
		Options: Options{Version: 257, Program: "/bin/true"}, Log: func(line string) { log = append(log, line) },
	}, &log
}

// made lists what the generator made, links too.
func made(t *testing.T, g *Generator) string {
	t.Helper()
	var names []string
	err := filepath.WalkDir(g.Out, func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			names = append(names, strings.TrimPrefix(path, g.Out+"/"))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(names, " ")
}

const pool = "command = [\"server\"]\n"

func TestGenerator(t *testing.T) {
	for _, tt := range []struct {
		name, want string
		log        bool // something is said
		files      map[string]string
	}{
		{"nothing", "", false, nil},
		{"no pool", "", false, map[string]string{"etc/.web.toml": pool, "etc/web.toml~": pool, "etc/web.toml.d/a.toml": pool, "etc/env": ""}},
		{"started by hand", "web.service", false, map[string]string{"etc/web.toml": pool}},
		{"started at boot", "multi-user.target.wants/web.service web.service", false, map[string]string{"etc/web.toml": pool + "install.wanted_by = ['multi-user.target']"}},
		{"by a drop-in", "multi-user.target.wants/web.service web.service", false, map[string]string{
			"etc/web.toml": pool, "etc/web.toml.d/boot.toml": "install.wanted_by = ['multi-user.target']",
		}},
		{"sockets by hand", "web-a.socket web.service", false, map[string]string{"etc/web.toml": pool + "[install]\nsockets = true\n[listen.a]\nstream = '1'"}},
		{"on demand", "sockets.target.wants/web-a.socket web-a.socket web.service", false, map[string]string{
			"etc/web.toml": pool + "[install]\nsockets = true\nwanted_by = ['sockets.target']\n[listen.a]\nstream = '1'",
		}},
		{"both at boot", `multi-user.target.wants/web.service sockets.target.wants/web-a\x40b.socket web-a\x40b.socket web.service`, false, map[string]string{
			"etc/web.toml": pool + "[install]\nsockets = true\nwanted_by = ['multi-user.target']\n[listen.\"a@b\"]\nstream = '1'",
		}},
		{"broken", "multi-user.target.wants/web.service web.service", false, map[string]string{"etc/web.toml": "x\n[install]\nwanted_by = ['multi-user.target']"}},
		{"a broken neighbour", "a.service b.service", false, map[string]string{"etc/a.toml": "[[[", "etc/b.toml": pool}},
		{"taken", "fugue-nginx-error.service", true, map[string]string{"etc/nginx.toml": pool, "units/nginx.service": "[Service]\nExecStart=/usr/sbin/nginx"}},
		{"taken at boot", "fugue-nginx-error.service multi-user.target.wants/fugue-nginx-error.service", true, map[string]string{
			"etc/nginx.toml": pool + "install.wanted_by = ['multi-user.target']", "units/nginx.service": "",
		}},
		{"taken by an init script", "fugue-cups-error.service", true, map[string]string{"etc/cups.toml": pool, "init/cups": ""}},
		{"taken by a template", "fugue-getty\\x40x-error.service", true, map[string]string{"etc/getty@x.toml": pool, "units/getty@.service": ""}},
		{"taken by a generator", "fugue-web-error.service web.service", true, map[string]string{"etc/web.toml": pool, "out/web.service": ""}},
		{"a socket is taken", "fugue-web-error.service", true, map[string]string{
			"etc/web.toml": pool + "[install]\nsockets = true\n[listen.a]\nstream = '1'", "units/web-a.socket": "",
		}},
		{"systemd's", "fugue-systemd-x-error.service", true, map[string]string{"etc/systemd-x.toml": pool}},
		{"a template", `fugue-web\x40-error.service`, true, map[string]string{"etc/web@.toml": pool}},
		{"no name", `fugue-a\x20b-error.service`, true, map[string]string{"etc/a b.toml": pool}},
		{"a line break", "", true, map[string]string{"etc/a\nb.toml": pool}},
		{"the error's name is taken too", "", true, map[string]string{"etc/x.toml": pool, "units/x.service": "", "units/fugue-x-error.service": ""}},
		{"run by the template", "", false, map[string]string{"etc/web.toml": pool, "units/multi-user.target.wants/-": ""}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g, log := generator(t, tt.files)
			if _, ok := tt.files["units/multi-user.target.wants/-"]; ok {
				if err := os.Symlink("../fugue@.service", g.Places.Dirs[0]+"/multi-user.target.wants/fugue@web.service"); err != nil {
					t.Fatal(err)
				}
			}
			g.Run()
			if got := made(t, g); got != tt.want {
				t.Errorf("made %q, want %q", got, tt.want)
			}
			if (len(*log) > 0) != tt.log {
				t.Errorf("said %q", *log)
			}
		})
	}
}

// A unit that a person wrote for the file stays alone.
func TestGeneratorLeavesWhatRunsTheFile(t *testing.T) {
	g, log := generator(t, map[string]string{"etc/a.toml": pool, "etc/b.toml": pool, "etc/c.toml": pool})
	for unit, text := range map[string]string{
		"a.service": "# " + marker + g.Etc + "/a.toml\n",
		"b.service": "[Service]\nExecStart=/opt/fugue run -c " + g.Etc + "/b.toml\n",
		"c.service": "[Service]\nExecStart=/opt/fugue run -c " + g.Etc + "/other.toml\n",
	} {
		if err := os.WriteFile(filepath.Join(g.Places.Dirs[0], unit), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	g.Run()
	if got := made(t, g); got != "fugue-c-error.service" || len(*log) != 1 {
		t.Errorf("made %q, said %q", got, *log)
	}
}

// Nothing to read and nowhere to write are no reasons to stop a boot.
func TestGeneratorWithoutDirectories(t *testing.T) {
	g, log := generator(t, map[string]string{"etc/web.toml": pool})
	etc := g.Etc
	g.Etc = etc + "/gone"
	g.Run()
	if len(*log) != 0 {
		t.Errorf("an absent directory: %q", *log)
	}
	g.Etc = etc + "/web.toml"
	g.Run()
	g.Etc, g.Out = etc, g.Out+"/gone"
	g.Run()
	if len(*log) != 2 {
		t.Errorf("a file for a directory, and no directory: %q", *log)
	}
}

// Generators run side by side: what another has just written stays.
func TestGeneratorWritesOverNothing(t *testing.T) {
	g, _ := generator(t, map[string]string{"out/web.service": "theirs"})
	err := g.write(Unit{Name: "web.service", Text: "ours"})
	if text, _ := os.ReadFile(g.Out + "/web.service"); err == nil || string(text) != "theirs" {
		t.Errorf("%v, and the file says %q", err, text)
	}
}

// words are what random files are made of: keys, values and pieces of both,
// right, wrong, and hostile to unit files.
var words = []string{
	"command", "=", "=", "=", "[", "]", "\"", "'", "\n", "\n", "\n", "{", "}", ",", "\\n", "\\u0000", "\\", "%", "%n", "$HOME", "é", "\x00", "\xff", "#",
	"\ncommand = [\"server\", \"{fd}\"]\n", "\nworkers = 2\n", "\nuser = \"web\"\n", "\ndirectory = \"/srv/a b\"\n",
	"\n[install]\n", "\nsockets = true\n", "\nwanted_by = [\"multi-user.target\"]\n", "\nwanted_by = [\"sockets.target\"]\n", "\nafter = [\"a.service\"]\n",
	"\nrun_as = \"user\"\n", "\nhardening = \"off\"\n", "\n[listen.http]\n", "\n[listen.\"a@b\"]\n", "\n[listen.local]\n",
	"\nstream = \"8080\"\n", "\nstream = \"/run/a b%n.sock\"\n", "\nstream = \"@x\"\n", "\nstream = \"vsock:2:80\"\n", "\nstream = \"[::1]:80\"\n", "\ndatagram = \"53\"\n",
	"\nstream = \"\\\"\"\n", "\nstream = \"/a\\nExecStart=/bin/false\"\n", "\nmode = \"0660\"\n", "\ngroup = \"%i\"\n", "\ngroup = \"adm\"\n", "\nbacklog = 7\n",
	"\n[stop]\n", "\ntimeout = \"infinity\"\n", "\ndelay = \"1s\"\n", "\n[systemd.service]\n", "\n[systemd.unit]\n", "\n[systemd.socket]\n",
	"\nMemoryMax = \"1G\"\n", "\nDescription = \"%%%\"\n", "\nExecStart = \"\"\n", "\nType = \"oneshot\"\n", "\nNice = 5\n", "\nPrivateTmp = true\n", "\nMark = [1, 2]\n",
	"\nEnvironment = [\"A=b\", \"\\\"\"]\n", "\nRestart = \"no\"\n", "\nX-A = \"\\\\\"\n", "\nA = {}\n", "\n[[x]]\n", "\n[a.b]\n",
}

var listen = []string{
	"stream = '8080'\n", "stream = '/run/a b%n.sock'\n", "stream = '/run/../x//y'\n", "stream = '@x'\n", "stream = 'vsock::80'\n", "stream = '[::1]:80'\n",
	"datagram = '53'\n", "datagram = '/run/d'\n", "stream = '/a\"b'\n", "stream = '0'\n", "mode = '0660'\n", "group = 'adm'\n", "user = '0'\n", "user = '7x'\n",
	"backlog = 7\n", "reuse_port = true\n", "keep_alive = true\n", "no_delay = false\n", "defer_accept = 3\n", "free_bind = true\n", "bind_ipv6_only = 'both'\n",
	"receive_buffer = '1M'\n", "send_buffer = '4096'\n", "remove_on_stop = false\n",
}

func random(r *rand.Rand) string {
	var b strings.Builder
	if r.IntN(3) > 0 {
		b.WriteString(pool)
	}
	if r.IntN(2) > 0 { // a right one, with sockets, and what comes after
		b.WriteString("[install]\nsockets = true\n")
		for i := range 1 + r.IntN(3) {
			fmt.Fprintf(&b, "[listen.l%d]\n", i)
			for range 1 + r.IntN(4) {
				b.WriteString(listen[r.IntN(len(listen))])
			}
		}
	}
	for range r.IntN(30) {
		b.WriteString(words[r.IntN(len(words))])
	}
	return b.String()
}

// Whatever the files say, systemd takes each unit that comes out.
func TestGeneratedUnitsLoad(t *testing.T) {
	const files = 150
	r := rand.New(rand.NewPCG(1, 2))
	texts := map[string]string{}
	for i := range files {
		texts[fmt.Sprintf("etc/p%d.toml", i)] = random(r)
	}
	g, _ := generator(t, texts)
	g.Options.Version = Oldest
	g.Run()
	verify(t, g.Out, "ignoring")
	services, _ := filepath.Glob(g.Out + "/p*.service")
	sockets, _ := filepath.Glob(g.Out + "/p*.socket")
	if len(services) != files || len(sockets) < 5 {
		t.Errorf("of %d files: %d services, %d sockets", files, len(services), len(sockets))
	}
}

// verify has this machine's systemd load all units of a directory, and say
// nothing about them except lines with but.
func verify(t *testing.T, dir, but string) {
	t.Helper()
	var units []string
	for _, kind := range []string{"service", "socket"} {
		more, _ := filepath.Glob(filepath.Join(dir, "*."+kind))
		units = append(units, more...)
	}
	cmd := exec.Command("systemd-analyze", append([]string{"--man=no", "verify"}, units...)...)
	out, err := cmd.CombinedOutput()
	for line := range bytes.Lines(out) {
		// What is said of other units of this machine is not about ours, and a
		// line of [systemd.*] that systemd passes over is its writer's.
		if but != "" && bytes.Contains(line, []byte(but)) {
			continue
		}
		for _, unit := range units {
			if bytes.Contains(line, []byte(filepath.Base(unit))) {
				t.Errorf("%s", line)
			}
		}
	}
	if err != nil {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
}

func FuzzGenerator(f *testing.F) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 30 {
		f.Add(random(r))
	}
	f.Fuzz(func(t *testing.T, text string) {
		g, log := generator(t, map[string]string{"etc/web.toml": text})
		g.Run()
		if len(*log) > 0 {
			t.Errorf("said %q", *log)
		}
		unit, err := os.ReadFile(g.Out + "/web.service")
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(unit)) {
			line = strings.TrimSuffix(line, "\n")
			key, _, said := strings.Cut(line, "=")
			if line != "" && line[0] != '#' && line[0] != '[' && (!said || key == "" || strings.ContainsAny(key, " \\")) || strings.HasSuffix(line, `\`) {
				t.Errorf("a line that is none: %q", line)
			}
		}
	})
}

// BenchmarkGenerator is a boot with a hundred pools.
func BenchmarkGenerator(b *testing.B) {
	files := map[string]string{}
	for i := range 100 {
		files[fmt.Sprintf("etc/pool%d.toml", i)] = fmt.Sprintf(
			"command = [\"server\", \"--fd\", \"{fd:http}\"]\nworkers = 4\nuser = \"web\"\n[listen.http]\nstream = \"127.0.0.1:%d\"\n[install]\nsockets = true\nwanted_by = [\"multi-user.target\"]\n[reload]\nbake = \"10s\"\n", 8000+i)
	}
	g, _ := generator(b, files)
	out, err := os.MkdirTemp("/dev/shm", "fugue-units-") // /run is in memory too
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { os.RemoveAll(out) })
	for i := 0; b.Loop(); i++ {
		g.Out = filepath.Join(out, fmt.Sprint(i))
		if err := os.Mkdir(g.Out, 0o755); err != nil {
			b.Fatal(err)
		}
		g.Run()
	}
	b.ReportMetric(float64(b.Elapsed().Milliseconds())/float64(b.N), "ms/100files")
}
