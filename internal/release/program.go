package release

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"fugue/internal/config"
	"fugue/internal/tmpdir"
)

// defaultPath is what systemd gives a service without PATH.
const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin"

// directory resolves the working directory. Its links are followed here and
// never again, so that a worker started after the next deploy has flipped them
// still finds the files of its own release.
func (m *maker) directory() {
	asked := m.cfg.Directory
	dir, err := filepath.EvalSymlinks(asked)
	if err == nil {
		err = m.mayEnter(dir)
	}
	if err != nil {
		m.errorf("directory", "directory %q: %w", asked, plain(asked, err))
		return
	}
	m.rel.Dir = dir
}

// tmpDirectory is where nobody else can exchange what is made there.
func (m *maker) tmpDirectory() {
	asked := m.cfg.TmpDirectory
	if asked == "" || asked == config.TmpRuntime {
		m.rel.TmpDirectory = asked
		return
	}
	dir, err := filepath.EvalSymlinks(asked)
	if err == nil {
		err = tmpdir.Trusted(dir)
	}
	if err == nil {
		err = m.mayEnter(dir)
	}
	if err != nil {
		m.errorf("tmp_directory", "tmp_directory %q: %w", asked, plain(asked, err))
		return
	}
	m.rel.TmpDirectory = dir
}

func (m *maker) mayEnter(dir string) error {
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return syscall.ENOTDIR
	}
	return m.access(dir)
}

// program finds the file to execute. argv[0] stays as written, because programs
// look at it (a Python finds its virtual environment by it); the file itself is
// the one at the end of all links.
func (m *maker) program(key string, words []config.Template) string {
	argv0 := literal(words[0])
	if strings.Contains(argv0, "/") {
		asked := argv0
		if !filepath.IsAbs(asked) {
			if m.rel.Dir == "" {
				return "" // said already
			}
			asked = m.rel.Dir + "/" + asked // not Join, which would cut off "link/.."
		}
		path, err := m.executable(asked)
		if err != nil {
			m.errorf(key, "%s %q: %w", lastPart(key), argv0, plain(argv0, err))
		}
		return path
	}
	return m.search(key, argv0)
}

// literal is the text of a template; the program of a command has no
// placeholders, and in PATH they would name no directory yet.
func literal(t config.Template) string {
	s, _ := t.Expand(func(p config.Placeholder) (string, error) { return p.String(), nil })
	return s
}

// lastPart is the word for a key in a message: "check" for reload.check.
func lastPart(key string) string { return key[strings.LastIndexByte(key, '.')+1:] }

// search looks through the PATH of the worker's own environment. Relative
// entries are left out, as they would run what lies in the working directory.
func (m *maker) search(key, name string) string {
	list := defaultPath
	for _, v := range m.rel.Env {
		if v.Name == "PATH" {
			list = literal(v.Value)
		}
	}
	var refused error
	for _, dir := range filepath.SplitList(list) {
		if !filepath.IsAbs(dir) {
			continue
		}
		path, err := m.executable(filepath.Join(dir, name))
		switch {
		case err == nil:
			return path
		case refused == nil && !errors.Is(err, syscall.ENOENT) && !errors.Is(err, syscall.ENOTDIR):
			refused = err
		}
	}
	if refused != nil {
		m.errorf(key, "%s %q: %w", lastPart(key), name, refused)
		return ""
	}
	m.errorf(key, "%s %q: not found in PATH (%s)", lastPart(key), name, list)
	return ""
}

// executable resolves path and makes sure that the worker's user may run it.
func (m *maker) executable(path string) (string, error) {
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return "", err
	}
	info, err := os.Stat(real)
	if err != nil {
		return "", err
	}
	if info.IsDir() {
		return "", syscall.EISDIR
	}
	if !info.Mode().IsRegular() {
		return "", errors.New("not a regular file")
	}
	if err := m.access(real); err != nil {
		return "", err
	}
	return real, interpreter(real)
}

// interpreter finds the one failure of execve(2) that nobody understands: a
// script is there, the program its first line names is not, and the kernel says
// "no such file or directory" of the script.
func interpreter(script string) error {
	f, err := os.Open(script)
	if err != nil {
		return nil // may be executed without being read
	}
	defer f.Close()
	head := make([]byte, 256) // BINPRM_BUF_SIZE: the kernel reads no more
	n, _ := io.ReadFull(f, head)
	line, ok := bytes.CutPrefix(head[:n], []byte("#!"))
	if !ok {
		return nil
	}
	line, _, _ = bytes.Cut(line, []byte("\n"))
	fields := bytes.Fields(line)
	if len(fields) == 0 {
		return nil
	}
	path := string(fields[0])
	if !filepath.IsAbs(path) {
		return nil
	}
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
		// Not wrapped: the script itself is there.
		return fmt.Errorf("its first line asks for %q, which does not exist", path)
	}
	return nil
}
