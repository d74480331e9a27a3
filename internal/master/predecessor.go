package master

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"

	"fugue/activation"
	"fugue/internal/logs"
	"fugue/internal/notify"
	"fugue/internal/proc"
	"fugue/pool"
)

// inherit collects what a predecessor left: its state, its sockets, its
// processes.
func (h *host) inherit() (Inheritance, error) {
	strangers, err := h.findStrangers()
	if err != nil {
		h.settings.Log.Warnf("%v; what a predecessor left there is not ended", err)
	}
	h.strangers = strangers
	s, err := h.findState()
	if err != nil {
		in := Inheritance{Strangers: strangers}
		if !errors.Is(err, errNothing) {
			in.Unusable = err.Error()
			h.settings.Log.Errorf("what the last master wrote down is of no use: %v; its workers are old ones", err)
		}
		return in, nil
	}
	living := s.living()
	if s.UID != nil && *s.UID != os.Geteuid() {
		if h.unit == "" && os.Geteuid() != 0 && len(living) > 0 { // they hold the sockets, and no store does
			return Inheritance{}, notPermitted(fmt.Errorf("take over from a master of uid %d: %w", *s.UID, unix.EPERM))
		}
		// Its releases are for the rights that it had; and who could write to its
		// file must not write to ours.
		h.settings.Log.Warnf("the last master ran as uid %d and this one is uid %d: it starts from the file, and the old workers serve until its own do", *s.UID, os.Geteuid())
		if h.slots != nil {
			_ = h.slots.Close()
			h.slots = nil
		}
		return Inheritance{Strangers: merge(strangers, living)}, nil
	}
	switch {
	case s.Master.Ended, h.unit == "" && len(living) == 0:
		// Stopped, or nothing lives and nobody but a person starts us: from
		// the file.
		return Inheritance{Strangers: merge(strangers, living)}, nil
	}
	h.strangers = merge(living, strangers)
	in, err := h.recover(s)
	if err != nil {
		return in, err
	}
	for _, pid := range strangers {
		line, cgroup := notify.Lineage(pid)
		line = append(line, pid)
		if !slices.ContainsFunc(line, func(p int) bool { return slices.Contains(living, p) }) && !s.inOneOf(cgroup, living) {
			in.Strangers = append(in.Strangers, pid)
		}
	}
	return in, nil
}

// serving are the generations that may still start workers, the current one
// first. What an older one had and these have not was closed, even if one of
// its workers that drains still holds it.
func (s *saved) serving() (list []savedGeneration) {
	numbers := append([]pool.Generation{s.Master.Current}, s.Master.Leftovers...)
	if r := s.Master.Rollout; r != nil {
		numbers = append(numbers, r.To)
	}
	for _, n := range numbers {
		for _, g := range s.Generations {
			if g.Number == n {
				list = append(list, g)
			}
		}
	}
	return list
}

func merge(a, b []int) []int {
	all := slices.Concat(a, b)
	slices.Sort(all)
	return slices.Compact(all)
}

// living are the workers that still are who they were.
func (s *saved) living() (pids []int) {
	for _, w := range s.Workers {
		if start, err := proc.StartTime(w.PID); err == nil && start == w.Memo.Start {
			pids = append(pids, w.PID)
		}
	}
	return pids
}

// recover finds the sockets of the state again. What is lost is bound anew.
func (h *host) recover(s *saved) (Inheritance, error) {
	in := Inheritance{State: s, Sockets: map[pool.Generation]*activation.Set{}}
	var was []activation.Listener
	for _, g := range s.serving() {
		was = append(was, g.Sockets...)
	}
	var fetchErr error
	rec, err := activation.Recover(was, h.inherited, func(inode uint64) int {
		fd, err := fetchInode(h.strangers, inode)
		if err != nil {
			fetchErr = err
		}
		return fd
	})
	if err != nil {
		return in, fmt.Errorf("take over the sockets: %w", err)
	}
	h.inherited = rec.Others
	for _, name := range rec.Forget {
		h.Unstore(name)
	}
	in.Held = rec.Held
	for _, g := range s.Generations {
		set, complete := rec.Held.Again(g.Sockets)
		if !complete && g.Number == s.Master.Current {
			if set, err = h.bindLost(&in, g); err != nil {
				return in, errors.Join(fmt.Errorf("take over the sockets: %w", err), fetchErr)
			}
		}
		in.Sockets[g.Number] = set
	}
	return in, nil
}

// bindLost binds what nobody holds any more.
func (h *host) bindLost(in *Inheritance, g savedGeneration) (*activation.Set, error) {
	wanted, err := specs(g.Config)
	if err != nil {
		return nil, err
	}
	c, err := activation.Prepare(in.Held, wanted, nil, h.fetch)
	if err != nil {
		return nil, err
	}
	for _, l := range c.Added() {
		h.settings.Log.Warnf("listener %s at %s was lost with the last master and is bound anew; connections that waited there are gone", l.Name, l.Address)
		h.Store(l)
	}
	in.Held, err = activation.Restore(append(in.Held.Listeners(), c.Added()...))
	return c.Set(), err
}

// fetchInode gets a socket out of one of the processes; -1 if none has it.
func fetchInode(pids []int, inode uint64) (int, error) {
	want := "socket:[" + strconv.FormatUint(inode, 10) + "]"
	var failed error
	for _, pid := range pids {
		dir := "/proc/" + strconv.Itoa(pid) + "/fd"
		entries, err := os.ReadDir(dir)
		if err != nil {
			failed = notPermitted(err)
			continue
		}
		for _, e := range entries {
			if link, err := os.Readlink(filepath.Join(dir, e.Name())); err != nil || link != want {
				continue
			}
			n, _ := strconv.Atoi(e.Name())
			fd, err := proc.FetchSocket(pid, n)
			if err == nil {
				return fd, nil
			}
			failed = notPermitted(err)
		}
	}
	return -1, failed
}

// notPermitted says what helps.
func notPermitted(err error) error {
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("%w: a master that is not root may take sockets from the workers of another only where kernel.yama.ptrace_scope is 0; or end those workers with fugue sweep", err)
	}
	return err
}

// Adopt implements World.
func (h *host) Adopt(log *logrus.Entry, pid int, memo Memo, exited func()) (Process, error) {
	own := h.cgroupAt(memo.Cgroup)
	if memo == (Memo{}) {
		exited = h.thenRemoveStrangers(pid, exited)
	}
	dir, lost := own.open()
	if dir >= 0 {
		defer unix.Close(dir)
	}
	child, err := proc.Adopt(pid, memo.Start, dir, h.thenRemove(log, memo.Tmp, h.thenRemoveCgroup(log, own, exited)))
	if err != nil {
		return nil, err
	}
	if lost != nil {
		log.Warnf("%v; of worker process %d only its group ends with it", lost, pid)
	}
	p := &running{Child: child, memo: memo, own: own}
	if memo.Pipes == (logs.Pipes{}) {
		return p, nil
	}
	if p.relay, err = h.relayAgain(log, pid, memo); err != nil {
		log.Errorf("%v; its output is lost, and it waits once it has written 64 KiB: reload soon", err)
	}
	return p, nil
}
