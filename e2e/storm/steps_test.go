package storm_test

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"fugue/e2e"
)

// Steps of the walk. What a step draws, it draws before it begins.

// atOnce runs a command as a step that the walk does not wait for.
func (s *storm) atOnce(kind, what string, want outcome, command ...string) {
	begun := s.log.begin(kind, what, want)
	s.beside.Go(func() {
		r := s.Exec(command...)
		begun.ended(r.Code, strings.TrimSpace(r.Out+r.Err))
	})
}

func (s *storm) reloadGood() {
	how := [][]string{{ctl, "reload", "web"}, {"systemctl", "reload", "web"}}[s.rng.IntN(2)]
	version := s.nextVersion()
	s.atOnce("reload", version+" by "+how[0], succeeds, how...)
}

func (s *storm) reloadBroken(how string, flags ...string) {
	s.release("broken-"+how, flags...)
	s.atOnce("reload broken", "which "+how, fails, ctl, "reload", "web")
}

// outOfAHang is a fix that does not wait for the hang.
func (s *storm) outOfAHang() {
	s.release("broken-hangs", "-hang")
	s.atOnce("reload broken", "which hangs, until --now", whatever, ctl, "reload", "web")
	s.loads[0].AwaitMore(1 + s.rng.IntN(40))
	version := s.nextVersion()
	s.atOnce("reload --now", version, succeeds, ctl, "reload", "--now", "web")
}

// cancel takes back a reload, or nothing if that was faster.
func (s *storm) cancel() {
	s.reloadGood()
	s.loads[0].AwaitMore(1 + s.rng.IntN(60))
	s.atOnce("cancel", "", whatever, ctl, "cancel", "web")
}

func (s *storm) scale() {
	n := 2 + s.rng.IntN(5) // one of them may be halted
	begun := s.log.begin("scale", strconv.Itoa(n), succeeds)
	s.mayWant(n)
	s.beside.Go(func() {
		r := s.Exec(ctl, "scale", "web", strconv.Itoa(n))
		begun.ended(r.Code, strings.TrimSpace(r.Out+r.Err))
	})
}

func (s *storm) mayWant(n int) { s.wanted[n] = true }

// workers are the processes of the pool that have become their command.
func (s *storm) workers() []e2e.Process {
	return slices.DeleteFunc(s.Processes("web"), func(p e2e.Process) bool {
		return !strings.HasPrefix(p.Command, "/usr/bin/testworker ")
	})
}

// pick is one of the workers, if there is any now.
func (s *storm) pick() (e2e.Process, bool) {
	n := s.rng.IntN(1 << 20)
	list := s.workers()
	if len(list) == 0 {
		return e2e.Process{}, false
	}
	return list[n%len(list)], true
}

func (s *storm) killWorker() {
	if p, ok := s.pick(); ok {
		begun := s.log.begin("kill worker", strconv.Itoa(p.PID), whatever)
		begun.ended(0, s.victims.kill(s.t, p))
	}
}

// stopWorker halts one by SIGSTOP. It stays so until the pool ends it, by its
// stop timeout, or until the next one's turn. Not two at once: if nobody is left
// to accept, connections wait, and that is as it must be.
func (s *storm) stopWorker() {
	s.victims.goOn()
	if p, ok := s.pick(); ok {
		begun := s.log.begin("stop worker", strconv.Itoa(p.PID), whatever)
		begun.ended(0, s.victims.stop(s.t, p))
	}
}

// killMaster ends it by SIGKILL, wherever it is.
func (s *storm) killMaster() {
	pid := s.ShowInt("web", "MainPID")
	begun := s.log.begin("kill master", strconv.Itoa(pid), whatever)
	how := "there was none"
	for _, p := range s.Processes("web") {
		if p.PID == pid {
			how = killed(p)
		}
	}
	// It is over when the next one is up: until then nobody answers.
	s.beside.Go(func() {
		s.WaitState("web", "running")
		begun.ended(0, how)
	})
}

func (s *storm) upgrade() {
	// Another file each time, as a package upgrade makes it.
	s.Install(e2e.Fugue(s.t), "/usr/bin/fugue")
	s.atOnce("upgrade", "", succeeds, ctl, "upgrade", "web")
}

// upgradeBroken waits for what goes on: a master that is started from a program
// that is none cannot be helped, and is not what is tested here.
func (s *storm) upgradeBroken() {
	what := s.rng.IntN(2)
	s.beside.Wait()
	s.WaitState("web", "running")
	s.installBroken([]string{"#!/bin/sh\nexit 3\n", "no program\n"}[what])
	s.atOnce("upgrade broken", fmt.Sprintf("kind %d", what), fails, ctl, "upgrade", "web")
	s.beside.Wait()
	s.Install(e2e.Fugue(s.t), "/usr/bin/fugue")
}

func (s *storm) restart() { s.atOnce("restart", "", whatever, "systemctl", "restart", "web") }

func (s *storm) daemonReload() {
	begun := s.log.begin("daemon-reload", "", whatever)
	s.DaemonReload()
	begun.ended(0, "")
}

func (s *storm) daemonReexec() {
	begun := s.log.begin("daemon-reexec", "", whatever)
	s.DaemonReexec()
	begun.ended(0, "")
}
