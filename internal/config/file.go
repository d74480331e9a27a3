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
	names, derr := dropIns(dir)
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
	return files, nil
}

func dropIns(dir string) ([]string, error) {
	d, err := os.Open(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer d.Close()
	info, err := d.Stat()
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return nil, syscall.ENOTDIR
	}
	if err := trusted(info); err != nil {
		return nil, err
	}
	all, err := d.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	// Editors leave .web.toml.swp and web.toml~ behind.
	all = slices.DeleteFunc(all, func(name string) bool {
		return !strings.HasSuffix(name, ".toml") || strings.HasPrefix(name, ".")
	})
	slices.Sort(all)
	return all, nil
}

func readFile(path string) (File, *Error) {
	text, err := readTrusted(path)
	if err != nil {
		return File{}, fileError(path, err)
	}
	return File{Path: path, Text: text}, nil
}

func readTrusted(path string) ([]byte, error) {
	// O_NONBLOCK: a FIFO in place of the file must not hang a reload.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat() // of the open file: a check by path could be outrun
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("not a regular file")
	}
	if err := trusted(info); err != nil {
		return nil, err
	}
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxFile {
		return nil, fmt.Errorf("larger than %d bytes", maxFile)
	}
	return text, nil
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
