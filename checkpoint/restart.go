package checkpoint

import "time"

// Restart says how the rewinds of a stream are spaced: exponential back-off with
// jitter, and a number that ends it. The names are Flink's
// (restart-strategy.exponential-delay).
type Restart struct {
	// InitialBackoff before the first rewind (default 1s), MaxBackoff the longest
	// (default 1m), Multiplier from one to the next (default 2).
	InitialBackoff, MaxBackoff time.Duration
	Multiplier                 float64
	// Jitter is the share of the back-off that is random, 0 to 1 (default 0.1).
	Jitter float64
	// ResetAfter is how long a stream must run without a rewind for the back-off
	// to start anew; 0 = MaxBackoff.
	ResetAfter time.Duration
	// More than MaxRestarts within Window end the stream; MaxRestarts 0 = no limit,
	// Window 0 = since the start.
	MaxRestarts int
	Window      time.Duration
}

// DefaultRestart is used where nothing is configured.
var DefaultRestart = Restart{
	InitialBackoff: time.Second, MaxBackoff: time.Minute, Multiplier: 2, Jitter: 0.1, Window: 10 * time.Minute,
}

// restarts applies a Restart to a history of failures.
type restarts struct {
	conf    Restart
	next    time.Duration
	last    time.Time
	history []time.Time
}

// failed notes a failure at now and returns how long to wait, or false if there
// were too many. random is in [0, 1).
func (r *restarts) failed(now time.Time, random float64) (time.Duration, bool) {
	reset := r.conf.ResetAfter
	if reset <= 0 {
		reset = r.conf.MaxBackoff
	}
	if r.next == 0 || now.Sub(r.last) > reset+r.next {
		r.next = r.conf.InitialBackoff
	}
	if r.conf.MaxRestarts > 0 {
		r.history = append(r.history, now)
		for r.conf.Window > 0 && len(r.history) > 0 && now.Sub(r.history[0]) > r.conf.Window {
			r.history = r.history[1:]
		}
		if len(r.history) > r.conf.MaxRestarts {
			return 0, false
		}
	}
	wait := r.next
	r.last = now
	r.next = min(time.Duration(float64(r.next)*max(r.conf.Multiplier, 1)), r.conf.MaxBackoff)
	return wait + time.Duration(float64(wait)*r.conf.Jitter*(2*random-1)), true
}
