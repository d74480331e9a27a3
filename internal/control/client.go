package control

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Client asks one running pool. Each call is a connection of its own, so that a
// new master is found by the next call.
type Client struct {
	entry    Entry
	patience time.Duration
	http     *http.Client
	gone     func(context.Context) error // waits for the end of a master without a successor, see ForMaster
}

func newClient(e Entry, patience time.Duration) *Client {
	path := filepath.Join(e.Dir, socketFile)
	var d net.Dialer
	return &Client{entry: e, patience: patience, http: &http.Client{
		Transport: &http.Transport{
			DisableKeepAlives:     true,
			ResponseHeaderTimeout: patience,
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				ctx, cancel := context.WithTimeout(ctx, patience)
				defer cancel()
				return d.DialContext(ctx, "unix", path)
			},
		},
	}}
}

// Entry is the pool that it asks.
func (c *Client) Entry() Entry { return c.entry }

// ForMaster is for a command of the unit whose main process is pid, as in
// ExecReload=: when that one has died systemd waits for the command before it
// starts the next, so to wait for a successor would only keep it from coming.
func (c *Client) ForMaster(pid int) {
	if pid > 0 && pid == c.entry.PID {
		c.gone = c.Gone()
	}
}

// Status asks what there is to know.
func (c *Client) Status(ctx context.Context) (Status, error) {
	raw, err := c.StatusJSON(ctx)
	if err != nil {
		return Status{}, err
	}
	var s Status
	return s, c.parse(raw, &s)
}

// StatusJSON is Status as the server words it.
func (c *Client) StatusJSON(ctx context.Context) ([]byte, error) {
	return c.get(ctx, "/status")
}

// Change asks about one change; errors.Is ErrNotFound where it is not kept.
func (c *Client) Change(ctx context.Context, number int) (Change, error) {
	raw, err := c.get(ctx, "/changes/"+strconv.Itoa(number))
	if err != nil {
		return Change{}, err
	}
	var ch Change
	return ch, c.parse(raw, &ch)
}

// Version asks for the master's version.
func (c *Client) Version(ctx context.Context) (VersionReply, error) {
	raw, err := c.get(ctx, "/version")
	if err != nil {
		return VersionReply{}, err
	}
	var v VersionReply
	return v, c.parse(raw, &v)
}

// Reload asks for a new generation.
func (c *Client) Reload(ctx context.Context, r ReloadRequest) (*Stream, error) {
	r.Unit = c.gone != nil
	return c.open(ctx, http.MethodPost, "/reload", r)
}

// Recycle asks for fresh workers.
func (c *Client) Recycle(ctx context.Context, r RecycleRequest) (*Stream, error) {
	return c.open(ctx, http.MethodPost, "/recycle", r)
}

// Scale asks for another number of workers.
func (c *Client) Scale(ctx context.Context, r ScaleRequest) (*Stream, error) {
	return c.open(ctx, http.MethodPost, "/scale", r)
}

// Cancel asks for the rollout that runs to be undone.
func (c *Client) Cancel(ctx context.Context) (*Stream, error) {
	return c.open(ctx, http.MethodPost, "/cancel", struct{}{})
}

// Upgrade asks the master to hand over to the program that is on disk now.
func (c *Client) Upgrade(ctx context.Context) (*Stream, error) {
	return c.open(ctx, http.MethodPost, "/upgrade", struct{}{})
}

// Stop asks for the pool to end.
func (c *Client) Stop(ctx context.Context) (*Stream, error) {
	return c.open(ctx, http.MethodPost, "/stop", struct{}{})
}

// Job tells the master what systemd is doing to its unit, and asks it to end
// accordingly.
func (c *Client) Job(ctx context.Context, r JobRequest) (*Stream, error) {
	return c.open(ctx, http.MethodPost, "/job", r)
}

// Events follows what happens, once, to the end of a master; Watch goes on with
// the next. after is the number of the last event that is known, -1 for none.
func (c *Client) Events(ctx context.Context, after int) (*Stream, error) {
	path := "/events"
	if after >= 0 {
		path += "?after=" + strconv.Itoa(after)
	}
	return c.open(ctx, http.MethodGet, path, nil)
}

func (c *Client) get(ctx context.Context, path string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*c.patience)
	defer cancel()
	resp, err := c.do(ctx, http.MethodGet, path, nil)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, c.lost(err)
	}
	return raw, nil
}

func (c *Client) open(ctx context.Context, method, path string, body any) (*Stream, error) {
	resp, err := c.do(ctx, method, path, body)
	if err != nil {
		return nil, err
	}
	number, _ := strconv.Atoi(resp.Header.Get(changeHeader))
	last, _ := strconv.Atoi(resp.Header.Get(eventHeader))
	return &Stream{Change: number, Last: last, ends: path == "/stop" || path == "/job", body: resp.Body, lines: bufio.NewReader(resp.Body)}, nil
}

// do sends a request and returns a success; every failure is an *Error.
func (c *Client) do(ctx context.Context, method, path string, body any) (*http.Response, error) {
	var in io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		in = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://fugue"+path, in)
	if err != nil {
		return nil, err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, c.lost(err)
	}
	if resp.StatusCode == http.StatusOK {
		return resp, nil
	}
	defer resp.Body.Close()
	var e ErrorReply
	raw, _ := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	if json.Unmarshal(raw, &e) != nil || e.Error == "" {
		return nil, Errorf(ExitFailed, "pool %s answered %s", c.entry.Name, resp.Status)
	}
	if resp.StatusCode == http.StatusNotFound && strings.HasPrefix(path, "/changes/") {
		return nil, &Error{Exit: e.Exit, Err: ErrNotFound}
	}
	return nil, &Error{Exit: e.Exit, Err: errors.New(e.Error)}
}

func (c *Client) parse(raw []byte, into any) error {
	if err := json.Unmarshal(raw, into); err != nil {
		return Errorf(ExitFailed, "read the answer of pool %s: %w", c.entry.Name, err)
	}
	return nil
}

// lost words an error of the connection.
func (c *Client) lost(err error) error {
	var timeout net.Error
	switch {
	case errors.Is(err, context.Canceled):
		return &Error{Exit: ExitFailed, Err: context.Canceled}
	case errors.Is(err, fs.ErrPermission):
		return Errorf(ExitDenied, "not permitted to control pool %s: %w", c.entry.Name, pathError(err))
	case errors.As(err, &timeout) && timeout.Timeout():
		return Errorf(ExitNoAnswer, "pool %s did not answer within %v", c.entry, c.patience)
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return Errorf(ExitNoAnswer, "pool %s runs but has no control socket yet: %w", c.entry, pathError(err))
	}
	return Errorf(ExitNoAnswer, "pool %s did not answer: %w", c.entry, pathError(err))
}

// pathError strips the words of net and net/http down to the system's own.
func pathError(err error) error {
	if op := (*net.OpError)(nil); errors.As(err, &op) {
		var sys *os.SyscallError
		if errors.As(op.Err, &sys) && op.Addr != nil {
			return fmt.Errorf("%s %s: %w", sys.Syscall, op.Addr, sys.Err)
		}
		return op.Err
	}
	return err
}
