package window

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"

	"github.com/tidemarkhq/tidemark/watermark"
)

// keyVersion is the version that what is kept of a key is written with. The store adds a
// checksum.
//
//	1  version (1 byte), number of windows, then for each: start, length, flags, for each
//	   aggregate a cell (see appendCell); then the number of the next record, and how
//	   far back the first one is that is kept. All numbers are varints.
//	2  cells whose value is null may have a time.
const keyVersion = 2

// The flags of a window.
const (
	flagFired = 1 << iota
	flagAgain
)

// The flags of a cell: which of its parts follow.
const (
	cellInexact = 1 << iota
	cellValue   // a time and a value
	cellTime    // the time of a value that is null
)

// encode appends a key to b.
func (k *keyed) encode(b []byte) ([]byte, error) {
	b = append(b, keyVersion)
	b = binary.AppendUvarint(b, uint64(len(k.panes)))
	for i := range k.panes {
		p := &k.panes[i]
		b = binary.AppendVarint(b, int64(p.Start))
		b = binary.AppendUvarint(b, uint64(p.End-p.Start))
		flags := byte(0)
		if p.fired {
			flags |= flagFired
		}
		if p.again {
			flags |= flagAgain
		}
		b = append(b, flags)
		b = binary.AppendUvarint(b, uint64(len(p.cells)))
		for j := range p.cells {
			var err error
			if b, err = appendCell(b, &p.cells[j]); err != nil {
				return nil, err
			}
		}
	}
	low := k.next
	if len(k.bodies) > 0 {
		low = k.bodies[0].number
	}
	return binary.AppendUvarint(binary.AppendUvarint(b, k.next), k.next-low), nil
}

func appendCell(b []byte, c *cell) ([]byte, error) {
	flags := byte(0)
	if c.inexact {
		flags |= cellInexact
	}
	switch {
	case c.v != nil:
		flags |= cellValue
	case c.t != 0:
		flags |= cellTime
	}
	b = append(b, flags)
	b = binary.AppendVarint(b, c.n)
	if c.inexact {
		b = binary.BigEndian.AppendUint64(b, math.Float64bits(c.sum))
	} else {
		b = binary.AppendVarint(b, c.exact)
	}
	if flags&(cellValue|cellTime) != 0 {
		b = binary.AppendVarint(b, int64(c.t))
	}
	if c.v == nil {
		return b, nil
	}
	v, err := json.Marshal(c.v)
	if err != nil {
		return nil, fmt.Errorf("keeping an aggregate: %w", err)
	}
	b = binary.AppendUvarint(b, uint64(len(v)))
	return append(b, v...), nil
}

var errCutOff = errors.New("it was cut off")

// decoder reads numbers until there are none.
type decoder struct {
	b   []byte
	err error
}

func (d *decoder) varint() int64 {
	n, size := binary.Varint(d.b)
	d.take(size)
	return n
}

func (d *decoder) uvarint() uint64 {
	n, size := binary.Uvarint(d.b)
	d.take(size)
	return n
}

// take returns n bytes; fewer than one are an error, as those of a broken number.
func (d *decoder) take(n int) []byte {
	if n <= 0 || n > len(d.b) {
		d.b, d.err = nil, errCutOff
		return make([]byte, 8)
	}
	taken := d.b[:n]
	d.b = d.b[n:]
	return taken
}

func (k *keyed) decode(b []byte, cells []Aggregate) error {
	d := &decoder{b: b}
	if v := d.take(1)[0]; d.err == nil && (v < 1 || v > keyVersion) {
		return fmt.Errorf("it has version %d, and this build reads versions 1 to %d: use the build that wrote it, or a newer one", v, keyVersion)
	}
	for range d.uvarint() {
		start := watermark.Time(d.varint())
		p := pane{Span: Span{start, start + watermark.Time(d.uvarint())}}
		flags := d.take(1)[0]
		p.fired, p.again = flags&flagFired != 0, flags&flagAgain != 0
		n := d.uvarint()
		if d.err != nil {
			return d.err
		}
		if n != uint64(len(cells)) {
			return fmt.Errorf("it has %d aggregates, and the configuration %d: aggregates of a window that has state cannot be changed", n, len(cells))
		}
		for i := range cells {
			p.cells = append(p.cells, d.cell(cells[i].Op))
		}
		k.panes = append(k.panes, p)
	}
	k.next = d.uvarint()
	k.low = k.next - d.uvarint()
	if d.err == nil && len(d.b) > 0 {
		return fmt.Errorf("%d bytes follow it", len(d.b))
	}
	return d.err
}

func (d *decoder) cell(op Op) (c cell) {
	flags := d.take(1)[0]
	c.n = d.varint()
	if c.inexact = flags&cellInexact != 0; c.inexact {
		c.sum = math.Float64frombits(binary.BigEndian.Uint64(d.take(8)))
	} else {
		c.exact = d.varint()
	}
	if flags&(cellValue|cellTime) != 0 {
		c.t = watermark.Time(d.varint())
	}
	if flags&cellValue == 0 {
		return c
	}
	v, err := parseValue(d.take(int(d.uvarint())), op)
	if d.err == nil {
		d.err = err
	}
	c.v = v
	return c
}

// parseValue reads JSON. It is what it was: the states of a fold have Go's numbers, however
// deep; the values of others as mappings have them, which is as text inside of something
// else, and where they are too large.
func parseValue(b []byte, op Op) (v any, err error) {
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.UseNumber()
	if err := dec.Decode(&v); err != nil {
		return nil, err
	}
	if op == Fold {
		return plain(v), nil
	}
	if n, ok := v.(json.Number); ok {
		if i, err := n.Int64(); err == nil {
			return i, nil
		}
		if strings.ContainsAny(n.String(), ".eE") {
			return plain(n), nil
		}
	}
	return v, nil
}

func plain(v any) any {
	switch v := v.(type) {
	case json.Number:
		if i, err := v.Int64(); err == nil {
			return i
		}
		if f, err := v.Float64(); err == nil {
			return f
		}
	case []any:
		for i := range v {
			v[i] = plain(v[i])
		}
	case map[string]any:
		for k := range v {
			v[k] = plain(v[k])
		}
	}
	return v
}
