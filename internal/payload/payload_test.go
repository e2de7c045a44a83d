package payload

import (
	"bytes"
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

func sample() []byte {
	var e Encoder
	e.Int(-3)
	e.Uint(300)
	e.String("job")
	e.Bytes([]byte{0, 0xff})
	e.Bool(true)
	e.Bool(false)
	e.Int(math.MinInt64)
	e.Uint(math.MaxUint64)
	return e.B
}

// The bytes are those of every store and savepoint that was ever written.
func TestBytesAreGolden(t *testing.T) {
	require.Equal(t, []byte{
		0x05, 0xac, 0x02, 0x03, 'j', 'o', 'b', 0x02, 0x00, 0xff, 0x01, 0x00,
		0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01,
		0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01,
	}, sample())
}

func read(b []byte) (d Decoder, same bool) {
	d.B = b
	same = d.Int() == -3
	same = d.Uint() == 300 && same
	same = d.String() == "job" && same
	same = bytes.Equal(d.Bytes(), []byte{0, 0xff}) && same
	same = d.Bool() && same
	same = !d.Bool() && same
	same = d.Int() == math.MinInt64 && same
	same = d.Uint() == math.MaxUint64 && same
	return d, same
}

func TestWhatIsWrittenIsReadBack(t *testing.T) {
	d, same := read(sample())
	require.NoError(t, d.End())
	require.True(t, same)

	d, _ = read(append(sample(), 0))
	require.ErrorIs(t, d.End(), ErrMalformed, "something is left")
	for n := range sample() {
		d, _ = read(sample()[:n])
		require.ErrorIs(t, d.End(), ErrMalformed, "cut to %d bytes", n)
		require.Zero(t, d.Int(), "after an error there is nothing")
		require.Empty(t, d.Bytes())
		require.False(t, d.Bool())
	}
}

func TestWhatIsNoPayloadIsMalformed(t *testing.T) {
	for name, read := range map[string]func(*Decoder){
		"a length beyond the end": func(d *Decoder) { d.B = []byte{200, 1, 1}; d.Bytes() },
		"neither true nor false":  func(d *Decoder) { d.B = []byte{2}; d.Bool() },
		"a number without an end": func(d *Decoder) { d.B = bytes.Repeat([]byte{0xff}, 11); d.Uint() },
	} {
		var d Decoder
		read(&d)
		require.ErrorIs(t, d.Err, ErrMalformed, name)
	}
	// What was taken cannot grow into what comes after it.
	d := Decoder{B: []byte{1, 'a', 'b'}}
	_ = append(d.Bytes(), 'x')
	require.Equal(t, []byte("b"), d.B)
}
