package window

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math"

	"github.com/tidemarkhq/tidemark/watermark"
)

// Op is what is known of the values of a window.
type Op uint8

// The aggregates. Integers are added exactly as long as they and their sum are within 64
// bits; otherwise the result is a floating-point number.
const (
	Count Op = iota + 1
	Sum
	Min
	Max
	Avg
	// First and Last are by event time; of the same time the first that came, and the last.
	First
	Last
	// Fold is a function of the caller's: see Folder.
	Fold
)

// String names the aggregate as a configuration does.
func (o Op) String() string {
	return [...]string{"", "count", "sum", "min", "max", "avg", "first", "last", "fold"}[o]
}

// Aggregate is one running aggregate of a window.
type Aggregate struct {
	Op Op
	// Folder is for Fold.
	Folder Folder
}

// Folder is an aggregate of the caller's own. States are values that JSON can hold.
type Folder interface {
	// Init returns the state of a window without records.
	Init() (any, error)
	// Add returns the state with a value added.
	Add(state, value any) (any, error)
	// Merge returns the state of two sessions that became one, a being the earlier.
	Merge(a, b any) (any, error)
	// Result returns what is emitted.
	Result(state any) (any, error)
}

// cell is what an aggregate remembers of a window.
type cell struct {
	// n counts values.
	n int64
	// exact is the sum as long as it is exact, then sum is, and inexact tells so.
	exact   int64
	sum     float64
	inexact bool
	// v is a value, of the event time t.
	v any
	t watermark.Time
}

// NotANumberError says that a value cannot be added up or compared.
type NotANumberError struct{ Value any }

// Error implements error.
func (e *NotANumberError) Error() string { return fmt.Sprintf("expected a number, got %T", e.Value) }

func (a *Aggregate) init(c *cell) (err error) {
	if a.Op == Fold {
		c.v, err = keepable(a.Folder.Init())
	}
	return err
}

// check tells whether a value can be added. What cannot be kept must not get in: it would
// show only in a cut, and then in every one.
func (a *Aggregate) check(v any) (err error) {
	if a.Op >= Sum && a.Op <= Avg {
		_, err = number(v)
	}
	if err == nil && a.Op >= Min && a.Op <= Last && a.Op != Avg {
		_, err = keepable(v, nil)
	}
	return err
}

// keepable returns a value that JSON can hold, or an error.
func keepable(v any, err error) (any, error) {
	if err != nil {
		return nil, err
	}
	switch v := v.(type) {
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			err = fmt.Errorf("%v is no number of JSON, so it cannot be kept", v)
		}
	case []any:
		for i := 0; i < len(v) && err == nil; i++ {
			_, err = keepable(v[i], nil)
		}
	case map[string]any:
		for _, v := range v {
			if _, err = keepable(v, nil); err != nil {
				break
			}
		}
	}
	return v, err
}

// add adds a value. On an error the cell is as before.
func (a *Aggregate) add(c *cell, v any, t watermark.Time) error {
	switch a.Op {
	case Count:
	case Sum, Avg:
		if err := c.plus(v); err != nil {
			return err
		}
	case Min, Max:
		order, err := compare(v, c.v)
		if err != nil {
			return err
		}
		if c.n == 0 || a.Op == Min && order < 0 || a.Op == Max && order > 0 {
			c.v = v
		}
	case First:
		if c.n == 0 || t < c.t {
			c.v, c.t = v, t
		}
	case Last:
		if c.n == 0 || t >= c.t {
			c.v, c.t = v, t
		}
	case Fold:
		next, err := keepable(a.Folder.Add(c.v, v))
		if err != nil {
			return err
		}
		c.v = next
	}
	c.n++
	return nil
}

func (c *cell) plus(v any) error {
	if i, ok := v.(int64); ok && !c.inexact {
		if sum := c.exact + i; (sum > c.exact) == (i > 0) {
			c.exact = sum
			return nil
		}
	}
	f, err := number(v)
	if err != nil {
		return err
	}
	c.float()
	c.sum += f
	return nil
}

func (c *cell) float() {
	if !c.inexact {
		c.sum, c.exact, c.inexact = float64(c.exact), 0, true
	}
}

// merge adds what another window has, whose records count as later ones of the same
// time.
func (a *Aggregate) merge(c, other *cell) error {
	switch a.Op {
	case Sum, Avg:
		var err error
		if other.inexact {
			err = c.plus(other.sum)
		} else {
			err = c.plus(other.exact)
		}
		if err != nil {
			return err
		}
	case Min, Max, First, Last:
		if other.n == 0 {
			return nil
		}
		n := c.n
		if err := a.add(c, other.v, other.t); err != nil {
			return err
		}
		c.n = n
	case Fold:
		merged, err := keepable(a.Folder.Merge(c.v, other.v))
		if err != nil {
			return err
		}
		c.v = merged
	}
	c.n += other.n
	return nil
}

// result returns what is emitted: of no values null, but 0 for Count and Sum.
func (a *Aggregate) result(c *cell) (any, error) {
	switch a.Op {
	case Count:
		return c.n, nil
	case Sum:
		if c.inexact {
			return c.sum, nil
		}
		return c.exact, nil
	case Avg:
		if c.n == 0 {
			return nil, nil
		}
		if c.inexact {
			return c.sum / float64(c.n), nil
		}
		return float64(c.exact) / float64(c.n), nil
	case Fold:
		return a.Folder.Result(c.v)
	}
	return c.v, nil
}

// compare orders a number and another, which may be missing.
func compare(v, old any) (int, error) {
	if i, ok := v.(int64); ok {
		if j, ok := old.(int64); ok {
			return cmp.Compare(i, j), nil
		}
	}
	f, err := number(v)
	if err != nil || old == nil {
		return 0, err
	}
	g, err := number(old)
	return cmp.Compare(f, g), err
}

func number(v any) (float64, error) {
	switch n := v.(type) {
	case int64:
		return float64(n), nil
	case float64:
		return n, nil
	case int:
		return float64(n), nil
	case json.Number:
		f, err := n.Float64()
		if err == nil && !math.IsInf(f, 0) {
			return f, nil
		}
	}
	return 0, &NotANumberError{v}
}
