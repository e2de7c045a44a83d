package window

import (
	"errors"
	"fmt"
	"strings"
)

// checkShape compares what the space holds with what is computed.
func (w *Windows) checkShape() error {
	b, err := w.space.Get([]byte{spaceShape})
	if err != nil || b == nil {
		return err
	}
	was, is := string(b), w.conf.shape()
	if was == is {
		w.shaped = true
		return nil
	}
	err = w.space.Scan([]byte{spaceKey}, nil, func(_, _ []byte) error { return errEnough })
	if errors.Is(err, errEnough) {
		return &ShapeError{was, is}
	}
	return err // Without windows nothing is in the way.
}

// ShapeError says that a space holds something else of windows than is configured.
type ShapeError struct{ Was, Is string }

// Error implements error.
func (e *ShapeError) Error() string {
	return fmt.Sprintf("the checkpoint has %s, and the configuration asks for %s: windows cannot be changed while there are open ones; "+
		"restore the configuration and end the job by a bounded run, which fires all of them, or begin with another checkpoint.job or store",
		e.Was, e.Is)
}

// shape says what is kept of a window.
func (c *Config) shape() string {
	if len(c.Aggregates) == 0 {
		return c.Assigner.String() + " of messages"
	}
	kinds := make([]string, len(c.Aggregates))
	for i := range c.Aggregates {
		if i < len(c.Names) {
			kinds[i] = c.Names[i] + " "
		}
		kinds[i] += c.Aggregates[i].Op.String()
	}
	return c.Assigner.String() + " of aggregates (" + strings.Join(kinds, ", ") + ")"
}
