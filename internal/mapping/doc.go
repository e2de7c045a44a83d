// Package mapping asks Bloblang mappings for values of messages, and takes a shorter way
// where a mapping is a plain path.
//
//	m, err := mapping.Field(conf, "timestamp")
//	q := mapping.On(batch, m)
//	v, err := q.Value(m, i) // what the mapping returns for the i-th message
//
// A plain path is this.a.b or @name, as it is or multiplied or divided by a whole number.
// It is read from the raw JSON; a mapping parses the whole document for it, which costs
// about ten times as much. Both ways have the same results: whatever the shorter one
// cannot be sure about, it leaves to the mapping, errors included. What it has to know
// about Bloblang is pinned by a test that compares both.
package mapping
