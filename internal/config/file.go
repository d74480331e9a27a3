package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// maxFile bounds a file that was named by mistake: a log, a core.
const maxFile = 1 << 20

// File is the text of one configuration file.
type File struct {
	Path string
	Text []byte
	// Private is what keeps others than its owner from reading it: its own path
	// or that of a directory; empty: nothing does.
	Private string
}

// Read returns the main file and the drop-ins beside it (web.toml and
// web.toml.d/*.toml, by name). As root it refuses what others can write: whoever
// writes the configuration chooses what root runs.
func Read(path string) ([]File, error) {
	main, err := readFile(path)
	if err != nil {
		return nil, Errors{err}
	}
	files, errs := []File{main}, Errors{}
	dir := path + ".d"
	names, listed, derr := dropIns(dir)
	if derr != nil {
		errs = append(errs, fileError(dir, derr))
	}
	for _, name := range names {
		f, err := readFile(filepath.Join(dir, name))
		if err != nil {
			errs = append(errs, err)
			continue
		}
		files = append(files, f)
	}
	if len(errs) > 0 {
		return nil, errs
	}
	if !listed && files[0].Private == "" {
		files[0].Private = dir
	}
	return files, nil
}

// dropIns gives the names of the files in the directory, and whether everybody
// may list it.
func dropIns(dir string) (all []string, listed bool, err error) {
	d, err := os.Open(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, true, nil
	}
	if err != nil {
		return nil, false, err
	}
	defer d.Close()
	info, err := d.Stat()
	if err != nil {
		return nil, false, err
	}
	if !info.IsDir() {
		return nil, false, syscall.ENOTDIR
	}
	if err := trusted(info); err != nil {
		return nil, false, err
	}
	all, err = d.Readdirnames(-1)
	if err != nil {
		return nil, false, err
	}
	// Editors leave .web.toml.swp and web.toml~ behind.
	all = slices.DeleteFunc(all, func(name string) bool {
		return !strings.HasSuffix(name, ".toml") || strings.HasPrefix(name, ".")
	})
	slices.Sort(all)
	return all, info.Mode()&0o005 == 0o005, nil
}

func readFile(path string) (File, *Error) {
	text, public, err := readTrusted(path)
	if err != nil {
		return File{}, fileError(path, err)
	}
	f := File{Path: path, Text: text}
	if !public {
		f.Private = path
		return f, nil
	}
	for dir := filepath.Dir(path); f.Private == "" && len(dir) > 1; dir = filepath.Dir(dir) {
		if info, err := os.Stat(dir); err != nil || info.Mode()&0o001 == 0 {
			f.Private = dir
		}
	}
	return f, nil
}

// readTrusted gives the text, and whether everybody may read it.
func readTrusted(path string) (text []byte, public bool, err error) {
	// O_NONBLOCK: a FIFO in place of the file must not hang a reload.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, false, err
	}
	defer f.Close()
	info, err := f.Stat() // of the open file: a check by path could be outrun
	if err != nil {
		return nil, false, err
	}
	if !info.Mode().IsRegular() {
		return nil, false, errors.New("not a regular file")
	}
	if err := trusted(info); err != nil {
		return nil, false, err
	}
	text, err = io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, false, err
	}
	if len(text) > maxFile {
		return nil, false, fmt.Errorf("larger than %d bytes", maxFile)
	}
	return text, info.Mode()&0o004 != 0, nil
}

// trusted refuses what others than root can write, where root reads it.
func trusted(info fs.FileInfo) error {
	st := info.Sys().(*syscall.Stat_t)
	switch {
	case os.Geteuid() != 0:
		return nil
	case st.Uid != 0:
		return fmt.Errorf("owned by uid %d: root reads only what nobody else can write; chown root it", st.Uid)
	case st.Mode&0o022 != 0:
		return fmt.Errorf("mode %04o: root reads only what nobody else can write; chmod go-w it", st.Mode&0o7777)
	}
	return nil
}

func fileError(path string, err error) *Error {
	var perr *fs.PathError
	if errors.As(err, &perr) {
		err = perr.Err // the path is in front already
	}
	return &Error{Path: path, Line: 1, Col: 1, Msg: err.Error(), Err: err}
}
