package connection

import (
	"context"
	"time"
)

// How a connection that cannot be had is tried for, and how often an error of it is
// returned: one that stays the same, and one that changes.
const (
	tryEvery     = 500 * time.Millisecond
	repeatAfter  = 30 * time.Second
	changedAfter = 5 * time.Second
)

// Patience keeps a component that cannot connect from filling the log. Benthos logs
// an error at each attempt that fails, and makes one a second. The first error is
// returned at once; after that, Connect goes on trying by itself, and returns what
// it got when there is something to say again. The zero value is ready.
type Patience struct {
	text string
	at   time.Time
}

// Connect calls try until it succeeds, fails for good or has an error to report.
// again tells of an error that it may heal by itself.
func (p *Patience) Connect(ctx context.Context, try func(context.Context) (again bool, err error)) error {
	for {
		again, err := try(ctx)
		if err == nil || !again || p.due(err) {
			return err
		}
		select {
		case <-time.After(tryEvery):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (p *Patience) due(err error) bool {
	now, text := time.Now(), err.Error()
	wait := repeatAfter
	if text != p.text {
		wait = changedAfter
	}
	if !p.at.IsZero() && now.Sub(p.at) < wait {
		return false
	}
	p.text, p.at = text, now
	return true
}
