package savepoint

import (
	"context"

	"github.com/tidemarkhq/tidemark/checkpoint"
)

// Operator is how much state an operator has.
type Operator struct {
	Name string
	// Scopes is how many partitions the state belongs to, the process counted as one and
	// checkpoint.Everywhere as none.
	Scopes int
	// Keys of all scopes, and what they and their values take, in bytes.
	Keys, Bytes int64
	// ProcessKeys are those among Keys that belong to the process as a whole.
	ProcessKeys int64
}

// Amount is how much state there is.
type Amount struct {
	// Keys, and what they and their values take, in bytes.
	Keys, Bytes int64
}

// Summary is how much a checkpoint holds.
type Summary struct {
	Positions int
	// Operators that have state, by name.
	Operators []Operator
	// Scopes that have state, that of all operators together.
	Scopes map[checkpoint.Scope]Amount
}

// Keys is the number of values of all operators.
func (s Summary) Keys() (n int64) {
	for _, o := range s.Operators {
		n += o.Keys
	}
	return n
}

// Bytes is what keys and values of all operators take.
func (s Summary) Bytes() (n int64) {
	for _, o := range s.Operators {
		n += o.Bytes
	}
	return n
}

// tally sums state up, which comes in order.
type tally struct {
	operators []Operator
	scope     checkpoint.Scope
	// scopes has what there is of each, of is that of scope.
	scopes map[checkpoint.Scope]*Amount
	of     *Amount
}

func (t *tally) summary(positions int) Summary {
	s := Summary{Positions: positions, Operators: t.operators, Scopes: make(map[checkpoint.Scope]Amount, len(t.scopes))}
	for scope, of := range t.scopes {
		s.Scopes[scope] = *of
	}
	return s
}

func (t *tally) add(e Entry) {
	last := len(t.operators) - 1
	fresh := last < 0 || t.operators[last].Name != e.Operator
	if fresh {
		t.operators = append(t.operators, Operator{Name: e.Operator})
		last++
	}
	o := &t.operators[last]
	if fresh || t.scope != e.Scope {
		t.enter(e.Scope)
		if e.Scope != checkpoint.Everywhere {
			o.Scopes++
		}
	}
	o.Keys++
	size := int64(len(e.Key) + len(e.Value))
	o.Bytes += size
	t.of.Keys++
	t.of.Bytes += size
	if e.Scope == (checkpoint.Scope{}) {
		o.ProcessKeys++
	}
}

// enter begins with the values of a scope.
func (t *tally) enter(s checkpoint.Scope) {
	if t.scopes == nil {
		t.scopes = map[checkpoint.Scope]*Amount{}
	}
	if t.scopes[s] == nil {
		t.scopes[s] = &Amount{}
	}
	t.scope, t.of = s, t.scopes[s]
}

// Measure reads a checkpoint from end to end and says how much it holds.
func Measure(ctx context.Context, s Snapshot) (Summary, error) {
	var t tally
	err := s.Each(ctx, func(e Entry) error {
		t.add(e)
		return nil
	})
	return t.summary(len(s.Manifest().Positions)), err
}
