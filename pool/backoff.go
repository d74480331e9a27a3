package pool

import "time"

// leastBackoff is waited even where no backoff is wanted: a spawn that fails
// at once (no memory, no such file) would else fail for ever in one and the
// same instant, and the loop never come to rest.
const leastBackoff = 10 * time.Millisecond

// backoff slows the starts of a generation whose workers keep failing.
// The first failure costs nothing: most crashes are not loops. From the
// second in a row on, the wait doubles. Workers of one round count once,
// however many of them fail; else sixteen broken workers would reach the
// limit in a single round.
type backoff struct {
	streak int       // rounds that failed since one became available
	since  time.Time // when the last of them was booked
}

func (b *backoff) failed(now, born time.Time) {
	if b.streak > 0 && born.Before(b.since) {
		return
	}
	b.streak++
	b.since = now
}

func (b *backoff) succeeded() { *b = backoff{} }

// until is the moment from which a slot may be filled again.
func (b *backoff) until(g Generation, slot int, l Limits) time.Time {
	if b.streak < 2 {
		return b.since
	}
	wait := max(l.Backoff, leastBackoff)
	for i := 2; i < b.streak && wait < time.Hour; i++ {
		wait *= 2
		if l.MaxBackoff > 0 && wait >= l.MaxBackoff {
			break
		}
	}
	if l.MaxBackoff > 0 {
		wait = min(wait, max(l.MaxBackoff, leastBackoff))
	}
	return b.since.Add(jitter(wait, g, slot, b.streak))
}

// jitter spreads a wait over 75 to 125 percent of it, so that the slots of a
// crash loop do not all start in the same instant. It is a hash and not a
// random number: a replay of the same facts gives the same times.
func jitter(d time.Duration, g Generation, slot, attempt int) time.Duration {
	return d*3/4 + time.Duration(dice(g, slot, attempt))*(d/2)/1023
}

// dice is a number from 0 to 1023 that is always the same for the same three.
func dice(g Generation, slot, attempt int) uint64 {
	h := uint64(14695981039346656037) // FNV-1a
	for _, v := range [...]int{int(g), slot, attempt} {
		for i := range 8 {
			h = (h ^ uint64(v)>>(8*i)&0xff) * 1099511628211
		}
	}
	h ^= h >> 32
	return h % 1024
}

// Failing reports that starts of g have come to nothing more than once since
// one of its workers last became available: one failure is no loop.
func (p *Pool) Failing(g Generation) bool {
	gen, ok := p.generations[g]
	return ok && gen.backoff.streak > 1
}
