package payload

import (
	"encoding/binary"
	"errors"
)

// ErrMalformed says that bytes do not parse although their checksum matches.
var ErrMalformed = errors.New("malformed payload")

// Encoder appends to B.
type Encoder struct{ B []byte }

// Int appends a number.
func (e *Encoder) Int(v int64) { e.B = binary.AppendVarint(e.B, v) }

// Uint appends a number that is never negative.
func (e *Encoder) Uint(v uint64) { e.B = binary.AppendUvarint(e.B, v) }

// Bytes appends a value, with its length.
func (e *Encoder) Bytes(v []byte) {
	e.Uint(uint64(len(v)))
	e.B = append(e.B, v...)
}

// String appends a name, with its length.
func (e *Encoder) String(v string) {
	e.Uint(uint64(len(v)))
	e.B = append(e.B, v...)
}

// Bool appends a truth value.
func (e *Encoder) Bool(v bool) {
	if v {
		e.B = append(e.B, 1)
		return
	}
	e.B = append(e.B, 0)
}

// Decoder takes B apart from its front. It is used to the end and then asked for its error;
// after the first one everything it returns is zero or empty.
type Decoder struct {
	B   []byte
	Err error
}

// Int takes a number.
func (d *Decoder) Int() int64 {
	v, n := binary.Varint(d.B)
	return advance(d, v, n)
}

// Uint takes a number that is never negative.
func (d *Decoder) Uint() uint64 {
	v, n := binary.Uvarint(d.B)
	return advance(d, v, n)
}

func advance[T any](d *Decoder, v T, n int) T {
	if n <= 0 || d.Err != nil {
		d.Err = ErrMalformed
		var zero T
		return zero
	}
	d.B = d.B[n:]
	return v
}

// Bytes takes a value, which shares its bytes with B.
func (d *Decoder) Bytes() []byte {
	n := d.Uint()
	if n > uint64(len(d.B)) {
		d.Err = ErrMalformed
		return nil
	}
	v := d.B[:n:n]
	d.B = d.B[n:]
	return v
}

// String takes a name.
func (d *Decoder) String() string { return string(d.Bytes()) }

// Bool takes a truth value.
func (d *Decoder) Bool() bool {
	if d.Err != nil || len(d.B) == 0 || d.B[0] > 1 {
		d.Err = ErrMalformed
		return false
	}
	v := d.B[0] == 1
	d.B = d.B[1:]
	return v
}

// End returns the first error, also if something is left.
func (d *Decoder) End() error {
	if d.Err == nil && len(d.B) > 0 {
		d.Err = ErrMalformed
	}
	return d.Err
}
