package master

import (
	"time"

	"fugue/internal/config"
	"fugue/pool"
	"fugue/reload"
)

// limits are what the pool holds the workers of a configuration to.
func limits(c *config.Config) pool.Limits {
	return pool.Limits{
		StartTimeout: finite(c.Ready.Timeout), MinUptime: c.Restart.MinUptime,
		StopDelay: c.Stop.Delay, StopTimeout: finite(c.Stop.Timeout),
		Backoff: max(c.Restart.Backoff, time.Millisecond), MaxBackoff: c.Restart.MaxBackoff,
		Watchdog: c.Watchdog.Timeout, AbortTimeout: finite(c.Watchdog.KillAfter), ReplaceFirst: c.Watchdog.ReplaceFirst,
		MaxAge: finite(c.Recycle.MaxAge),
	}
}

// rolloutLimits are what a rollout to it is held to.
func rolloutLimits(c *config.Config) reload.Limits {
	amount := func(a config.Amount) reload.Amount { return reload.Amount{N: a.Value, Percent: a.Percent} }
	return reload.Limits{
		Strategy: reload.Rolling{MaxSurge: amount(c.Reload.MaxSurge), MaxUnavailable: amount(c.Reload.MaxUnavailable)},
		Canary:   c.Reload.Canary, Bake: c.Reload.Bake, Tolerate: c.Reload.Tolerate, Timeout: finite(c.Reload.Timeout),
	}
}

// leastUptime is what a release is held to whose workers have died as soon as
// they were ready: where min_uptime is nothing, every one of them counts as
// available, and they would be started again and again without slowing down.
const leastUptime = 50 * time.Millisecond

// hold makes a worker that died so early the last one that was available.
func (m *Master) hold(now time.Time, row pool.Worker, fate pool.Fate) {
	if fate != pool.Died || now.Sub(row.Since) >= leastUptime {
		return
	}
	if l := limits(m.generations[row.Generation].config); l.MinUptime < leastUptime {
		l.MinUptime = leastUptime
		m.pool.SetLimits(row.Generation, l)
	}
}

// finite turns a limit that never comes into none.
func finite(d time.Duration) time.Duration {
	if d == config.Infinity {
		return 0
	}
	return d
}
