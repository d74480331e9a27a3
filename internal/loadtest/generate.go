package loadtest

import (
	"context"
	"sync"
	"time"
)

// generate sends every result and closes the channel when the last request has
// ended. Requests under way when ctx ends are waited for: they count.
func generate(ctx context.Context, c Config, results chan<- Result) {
	ctx, cancel := context.WithTimeout(ctx, c.For)
	defer cancel()
	budget := make(chan struct{}, c.Max)
	var asking sync.WaitGroup
	for i := range c.KeepAlive {
		asking.Go(func() { keepAsking(ctx, c, i, budget, results) })
	}
	if c.Rate > 0 {
		openLoop(ctx, c, budget, &asking, results)
	}
	asking.Wait()
	close(results)
}

// openLoop starts request n at n/Rate seconds, whatever became of the ones
// before. A generator that was late starts what is due at once: a pause of the
// machine must not thin the load out where it is most interesting.
func openLoop(ctx context.Context, c Config, budget chan struct{}, asking *sync.WaitGroup, results chan<- Result) {
	begin := time.Now()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for n := 0; ; n++ {
		due := begin.Add(time.Duration(n) * time.Second / time.Duration(c.Rate))
		timer.Reset(time.Until(due))
		select {
		case <-timer.C:
		case <-ctx.Done():
			return
		}
		if !take(budget) {
			return
		}
		path := c.Paths[n%len(c.Paths)]
		asking.Go(func() { results <- askOnce(c, path) })
	}
}

func keepAsking(ctx context.Context, c Config, i int, budget chan struct{}, results chan<- Result) {
	client := keptClient{config: c}
	defer client.close()
	// Clients start spread over the interval, not in step.
	timer := time.NewTimer(c.KeepAliveEvery * time.Duration(i) / time.Duration(c.KeepAlive))
	defer timer.Stop()
	for n := i; ; n++ {
		select {
		case <-timer.C:
		case <-ctx.Done():
			return
		}
		if client.foundClosed() {
			results <- Result{Class: IdleClosed, Kept: true, Start: time.Now()}
		}
		if !take(budget) {
			return
		}
		results <- client.ask(c.Paths[n%len(c.Paths)])
		timer.Reset(c.KeepAliveEvery)
	}
}

func take(budget chan struct{}) bool {
	select {
	case budget <- struct{}{}:
		return true
	default:
		return false
	}
}
