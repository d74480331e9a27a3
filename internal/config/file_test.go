package config

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func write(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestLoadDropIns(t *testing.T) {
	dir := t.TempDir()
	main := write(t, dir+"/web.toml", "command = ['x']\nworkers = 1\n")
	write(t, main+".d/20-b.toml", "workers = 20\n")
	write(t, main+".d/10-a.toml", "workers = 10\nuser = 'a'\n")
	write(t, main+".d/.30.toml", "broken")
	write(t, main+".d/40.toml~", "broken")
	write(t, main+".d/README", "broken")
	c, err := Load(main, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if c.Workers != 20 || c.User != "a" || c.Name != "web" || c.Path != main {
		t.Errorf("got %+v", c)
	}
	if got := c.Pos("workers").String(); got != main+".d/20-b.toml:1:1" {
		t.Error(got)
	}
}

func TestLoadRelativePath(t *testing.T) {
	dir := t.TempDir()
	write(t, dir+"/web.toml", "command = ['x']\n")
	t.Chdir(dir)
	c, err := Load("web.toml", Options{})
	if err != nil {
		t.Fatal(err)
	}
	if !filepath.IsAbs(c.Path) || c.Name != "web" {
		t.Errorf("a reload from elsewhere would not find %q", c.Path)
	}
}

func TestLoadRefuses(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("needs root")
	}
	const good = "command = ['x']\n"
	for _, tt := range []struct {
		name   string
		damage func(t *testing.T, main string)
		want   string // with MAIN for the path
	}{
		{"missing", func(t *testing.T, m string) { os.Remove(m) }, "MAIN:1:1: error: no such file or directory"},
		{"directory", func(t *testing.T, m string) { os.Remove(m); os.Mkdir(m, 0o755) }, "MAIN:1:1: error: not a regular file"},
		{"fifo", func(t *testing.T, m string) { os.Remove(m); syscall.Mkfifo(m, 0o644) }, "MAIN:1:1: error: not a regular file"},
		{"huge", func(t *testing.T, m string) { os.Truncate(m, maxFile+1) }, "MAIN:1:1: error: larger than 1048576 bytes"},
		{"another's", func(t *testing.T, m string) { os.Chown(m, 1000, 0) }, "MAIN:1:1: error: owned by uid 1000: root reads only what nobody else can write; chown root it"},
		{"group can write", func(t *testing.T, m string) { os.Chmod(m, 0o664) }, "MAIN:1:1: error: mode 0664: root reads only what nobody else can write; chmod go-w it"},
		{"all can write", func(t *testing.T, m string) { os.Chmod(m, 0o646) }, "MAIN:1:1: error: mode 0646: root reads only what nobody else can write; chmod go-w it"},
		{"through a link", func(t *testing.T, m string) {
			os.Rename(m, m+".real")
			os.Chmod(m+".real", 0o666)
			os.Symlink(m+".real", m)
		}, "MAIN:1:1: error: mode 0666: root reads only what nobody else can write; chmod go-w it"},
		{"directory of drop-ins", func(t *testing.T, m string) { os.Mkdir(m+".d", 0); os.Chmod(m+".d", 0o777) }, "MAIN.d:1:1: error: mode 0777: root reads only what nobody else can write; chmod go-w it"},
		{"drop-ins are a file", func(t *testing.T, m string) { write(t, m+".d", "") }, "MAIN.d:1:1: error: not a directory"},
		{"both drop-ins", func(t *testing.T, m string) {
			os.Chmod(write(t, m+".d/a.toml", ""), 0o666)
			os.Chown(write(t, m+".d/b.toml", ""), 7, 7)
		}, "MAIN.d/a.toml:1:1: error: mode 0666: root reads only what nobody else can write; chmod go-w it\n" +
			"MAIN.d/b.toml:1:1: error: owned by uid 7: root reads only what nobody else can write; chown root it"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			main := write(t, t.TempDir()+"/web.toml", good)
			if _, err := Load(main, Options{}); err != nil {
				t.Fatal("before:", err)
			}
			tt.damage(t, main)
			_, err := Load(main, Options{})
			if err == nil {
				t.Fatal("no error")
			}
			if diff := cmp.Diff(tt.want, strings.ReplaceAll(err.Error(), main, "MAIN")); diff != "" {
				t.Error(diff)
			}
		})
	}
	_, err := Load(t.TempDir()+"/none.toml", Options{})
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the cause is lost: %v", err)
	}
}

func TestName(t *testing.T) {
	for _, tt := range []struct{ path, flag, command, want, err string }{
		{path: "/c/web.toml", want: "web"},
		{path: "/c/web.v2.toml", want: "web.v2"},
		{path: "/c/web", want: "web"},
		{path: "/c/web.toml", flag: "shop", want: "shop"},
		{path: "/c/my app.toml", err: `/c/my app.toml:1:1: error: "my app" cannot name a pool: ` + nameRule + `; rename the file or give --name`},
		{command: "./bin/server", want: "server"},
		{command: "/", err: `command line: error: "/" cannot name a pool: ` + nameRule + `; give --name`},
		{command: "x", flag: strings.Repeat("a", 64), want: strings.Repeat("a", 64)},
		{command: "x", flag: "..", err: `--name: error: ".." cannot name a pool: ` + nameRule},
	} {
		var files []File
		o := Options{Name: tt.flag, WorkDir: "/"}
		if tt.path != "" {
			files = []File{{Path: tt.path, Text: []byte("command = ['x']")}}
		} else {
			o.Overrides = []Override{{Key: "command", Value: tt.command, Flag: commandLine}}
		}
		c, err := Parse(files, o)
		switch {
		case tt.err != "":
			if err == nil || err.Error() != tt.err {
				t.Errorf("%+v: got %v", tt, err)
			}
		case err != nil:
			t.Errorf("%+v: %v", tt, err)
		case c.Name != tt.want:
			t.Errorf("%+v: got %q", tt, c.Name)
		}
	}
	for _, long := range []string{strings.Repeat("a", 65), "", "-a", ".a", "a/b", "a b", "ä"} {
		if ValidName(long) {
			t.Errorf("%q", long)
		}
	}
}
