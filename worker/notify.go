package worker

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"
)

// Ready tells the manager that this worker serves. It is Notify("READY=1").
func Ready() error { return Notify("READY=1") }

// Status gives the manager a line about this worker for people, which `fugue
// status` shows. What is on further lines is put on the same.
func Status(text string) error {
	return Notify("STATUS=" + strings.Join(strings.Fields(text), " "))
}

// Notify sends one sd_notify(3) datagram, KEY=VALUE lines separated by newlines,
// to NOTIFY_SOCKET. Without NOTIFY_SOCKET there is nobody to tell, and that is
// no error: the same program runs in a terminal.
func Notify(state string) error {
	path := os.Getenv("NOTIFY_SOCKET")
	if path == "" {
		return nil
	}
	// net takes a leading @ for an abstract address, as systemd writes it.
	c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return fmt.Errorf("reach NOTIFY_SOCKET: %w", err)
	}
	defer c.Close()
	if _, err := c.Write([]byte(state)); err != nil {
		return fmt.Errorf("send to NOTIFY_SOCKET: %w", err)
	}
	return nil
}

// Watchdog returns how often at least the manager wants WATCHDOG=1 of this
// process (WATCHDOG_USEC, WATCHDOG_PID), and zero where it does not watch. Serve
// and ServeConns ping by themselves, twice in that time; a program that uses
// neither does it with Notify.
func Watchdog() time.Duration { return watchdog(os.Getenv, os.Getpid()) }

func watchdog(getenv func(string) string, pid int) time.Duration {
	if to := getenv("WATCHDOG_PID"); to != "" && to != strconv.Itoa(pid) {
		return 0 // meant for the process that started us
	}
	usec, err := strconv.ParseInt(getenv("WATCHDOG_USEC"), 10, 64)
	if err != nil || usec <= 0 || usec > int64(time.Duration(1<<63-1)/time.Microsecond) {
		return 0
	}
	return time.Duration(usec) * time.Microsecond
}

// watchdog pings until the function that it returns is called: through the drain
// too, which may take longer than the manager's patience.
func (o Options) watchdog() (stop func()) {
	interval := Watchdog() / 2
	if interval <= 0 {
		return func() {}
	}
	done := make(chan struct{})
	go func() {
		tick := time.NewTicker(interval)
		defer tick.Stop()
		for {
			o.ping()
			select {
			case <-tick.C:
			case <-done:
				return
			}
		}
	}()
	return func() { close(done) }
}

// ping is at once after READY=1, too: the manager counts from there.
func (o Options) ping() {
	if o.Alive != nil {
		if err := o.Alive(); err != nil {
			_ = Status(err.Error())
			return
		}
	}
	_ = Notify("WATCHDOG=1") // the next one may get through
}
