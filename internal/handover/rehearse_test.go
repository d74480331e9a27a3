package handover

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// rehearsed says what it finds, and ends as WANT says.
func rehearsed() int {
	role, err := FromEnv(os.LookupEnv, os.Unsetenv)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	_, still := os.LookupEnv(Variable)
	s, err := FromFD(role.State)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	payload, err := s.Read()
	status, _ := os.ReadFile("/proc/self/status")
	mask, _, _ := strings.Cut(strings.SplitAfter(string(status), "SigBlk:\t")[1], "\n")
	fmt.Println(role.Kind, role.State, still, string(payload), err, os.Args[1:], os.Getenv("A"),
		unix.Getpgrp() == os.Getpid(), "blocked", mask)
	n, err := os.Stdin.Read(make([]byte, 1))
	fmt.Println("stdin", n, err)
	list, _ := filepath.Glob("/proc/self/fd/*")
	for _, name := range list {
		if to, err := os.Readlink(name); err == nil && !strings.HasPrefix(to, "anon_inode:") {
			fmt.Println(filepath.Base(name), strings.SplitN(to, ":", 2)[0])
		}
	}
	switch os.Getenv("WANT") {
	case "78":
		fmt.Fprintln(os.Stderr, "web.toml:3:1: error: no")
		return 78
	case "loud":
		fmt.Print(strings.Repeat("x", 100_000), "end")
		return 1
	case "hang":
		fmt.Println("hanging")
		select {}
	}
	return 0
}

func rehearse(t *testing.T, want string) error {
	t.Helper()
	s, _ := create(t)
	write(t, s, "the state")
	return Rehearse(t.Context(), exeName(t), []string{"as said", "a b"},
		[]string{"FUGUE_TEST=rehearse", "A=ä", "WANT=" + want, Variable + "=resume:99"}, s.FD())
}

func TestRehearsal(t *testing.T) {
	before, kids := fds(os.Getpid()), children(os.Getpid())
	if err := rehearse(t, "0"); err != nil {
		t.Error(err)
	}
	err := rehearse(t, "78")
	var failed *RehearsalError
	if !errors.As(err, &failed) {
		t.Fatal(err)
	}
	if failed.Status != 78 || failed.Exit != "exit status 78" || failed.Path != exeName(t) || failed.Cause != nil {
		t.Errorf("%+v", failed)
	}
	for _, want := range []string{
		"rehearsal 3 false the state <nil> [a b] ä true blocked 0000000000000000\n",
		"stdin 0 EOF\n0 /dev/null\n1 pipe\n2 pipe\n3 /",
		"web.toml:3:1: error: no",
	} {
		if !strings.Contains(failed.Output, want) {
			t.Errorf("%q is not in\n%s", want, failed.Output)
		}
	}
	if !strings.HasSuffix(err.Error(), "web.toml:3:1: error: no") || !strings.Contains(err.Error(), "exit status 78") {
		t.Error(err)
	}
	err = rehearse(t, "loud")
	if !errors.As(err, &failed) || len(failed.Output) != maxOutput || !strings.HasSuffix(failed.Output, "xend") {
		t.Errorf("%d bytes, %v", len(failed.Output), failed.Exit)
	}
	if n := children(os.Getpid()); n != kids {
		t.Errorf("children: %d, then %d", kids, n)
	}
	if n := fds(os.Getpid()); n > before+3 { // the states of this test
		t.Errorf("descriptors: %d, then %d", before, n)
	}
}

// It is killed with the group that it is in, when it takes too long.
func TestRehearsalThatHangs(t *testing.T) {
	s, _ := create(t)
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	late := errors.New("late")
	up := make(chan error, 1)
	go func() {
		f, err := os.Open(fifo) // waits for the child's child
		up <- err
		cancel(late)
		if err == nil {
			_, err = f.Read(make([]byte, 1)) // the end of the child's child
			_ = f.Close()
		}
		up <- err
	}()
	err := Rehearse(ctx, "/bin/sh", []string{"sh", "-c", `echo hanging; sleep 1000 >"$1" & wait`, "sh", fifo}, nil, s.FD())
	var failed *RehearsalError
	if !errors.As(err, &failed) || !errors.Is(err, late) || failed.Output != "hanging\n" ||
		failed.Exit != "it did not end in time and was killed" {
		t.Errorf("%v: %+v", err, failed)
	}
	if err := <-up; err != nil {
		t.Error(err)
	}
	if err := <-up; err == nil || err.Error() != "EOF" {
		t.Error(err)
	}
}

// badBinaries are paths, and what exec says of them.
func badBinaries(t *testing.T) map[string]error {
	t.Helper()
	dir := t.TempDir()
	whole, err := os.ReadFile(exeName(t))
	if err != nil {
		t.Fatal(err)
	}
	file := func(name string, mode fs.FileMode, contents []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, contents, mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	return map[string]error{
		filepath.Join(dir, "missing"):                  unix.ENOENT,
		file("empty", 0o755, nil):                      unix.ENOEXEC,
		file("text", 0o755, []byte("no binary\n")):     unix.ENOEXEC,
		file("denied", 0o644, whole):                   unix.EACCES,
		file("header", 0o755, whole[:100]):             unix.ENOEXEC,
		file("truncated", 0o755, whole[:len(whole)/3]): unix.ENOEXEC,
	}
}

func TestRehearsalOfBadBinaries(t *testing.T) {
	s, _ := create(t)
	for path, want := range badBinaries(t) {
		err := Rehearse(t.Context(), path, []string{path}, nil, s.FD())
		var failed *RehearsalError
		if filepath.Base(path) == "truncated" {
			// It is executed, and dies where the file ends.
			if !errors.As(err, &failed) || !strings.HasPrefix(failed.Exit, "killed by SIG") {
				t.Errorf("%s: %v", path, err)
			}
			continue
		}
		if filepath.Base(path) == "header" && errors.Is(err, unix.EIO) {
			continue // older kernels
		}
		if !errors.Is(err, want) || errors.As(err, &failed) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v, want %v", path, err, want)
		}
	}
}
