package loadtest

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
)

// Main is the load generator as a program: the Config as one line of JSON on
// stdin, one Result a line on stdout, and the end of stdin is the order to stop.
// A test binary runs itself so inside another network namespace; if its parent
// dies, stdin ends too and nothing is left behind.
func Main(stdin io.Reader, stdout io.Writer) int {
	in := bufio.NewReader(stdin)
	line, err := in.ReadBytes('\n')
	if err != nil {
		fmt.Fprintln(os.Stderr, "load: read the config:", err)
		return 2
	}
	var c Config
	if err := json.Unmarshal(line, &c); err != nil {
		fmt.Fprintln(os.Stderr, "load: read the config:", err)
		return 2
	}
	c, err = c.withDefaults()
	if err != nil {
		fmt.Fprintln(os.Stderr, "load:", err)
		return 2
	}
	ctx, stop := context.WithCancel(context.Background())
	go func() {
		_, _ = io.Copy(io.Discard, in)
		stop()
	}()
	results := make(chan Result, 256)
	go generate(ctx, c, results)
	out := bufio.NewWriter(stdout)
	encode := json.NewEncoder(out)
	for r := range results {
		if encode.Encode(r) != nil || (len(results) == 0 && out.Flush() != nil) {
			stop() // nobody reads; drain what is under way and end
		}
	}
	if out.Flush() != nil {
		return 1
	}
	return 0
}

// StartCommand begins to ask from cmd, a program that is Main. The caller sets
// everything of it but stdin and stdout.
func StartCommand(ctx context.Context, c Config, cmd *exec.Cmd) (*Load, error) {
	c, err := c.withDefaults()
	if err != nil {
		return nil, err
	}
	config, err := json.Marshal(c)
	if err != nil {
		return nil, err
	}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the load: %w", err)
	}
	if _, err := stdin.Write(append(config, '\n')); err != nil {
		_ = cmd.Process.Kill()
		return nil, fmt.Errorf("send the load its config: %w", err)
	}
	run, stop := context.WithCancel(ctx)
	go func() {
		<-run.Done()
		stdin.Close()
	}()
	results := make(chan Result, 256)
	go func() {
		defer close(results)
		decode := json.NewDecoder(stdout)
		for {
			var r Result
			if err := decode.Decode(&r); err != nil {
				break
			}
			results <- r
		}
		if err := cmd.Wait(); err != nil {
			// A generator that died has counted wrongly: say so in the account.
			results <- Result{Class: Local, Err: fmt.Sprintf("load generator: %v", err)}
		}
	}()
	return collect(results, stop), nil
}
