package savepoint

import (
	"bytes"
	"cmp"
	"fmt"

	"github.com/tidemarkhq/tidemark/checkpoint"
)

// order checks that values of state come in order, each once.
type order struct {
	any      bool
	operator string
	scope    checkpoint.Scope
	key      []byte
}

// next takes an entry and tells whether it begins another operator or scope.
func (o *order) next(e Entry) (fresh bool, err error) {
	fresh = !o.any || o.operator != e.Operator || o.scope != e.Scope
	if o.any {
		c := cmp.Or(cmp.Compare(o.operator, e.Operator), o.scope.Compare(e.Scope))
		if c > 0 || c == 0 && bytes.Compare(o.key, e.Key) >= 0 {
			return false, fmt.Errorf("%w: state of %q, %s, key %q comes after %q, %s, key %q",
				checkpoint.ErrCorrupt, e.Operator, e.Scope, e.Key, o.operator, o.scope, o.key)
		}
	}
	o.any, o.operator, o.scope = true, e.Operator, e.Scope
	o.key = append(o.key[:0], e.Key...)
	return fresh, nil
}
