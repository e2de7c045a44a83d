package format_test

import (
	"context"
	"encoding/json"
	"math"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	public "github.com/tidemarkhq/tidemark/format"
	"github.com/tidemarkhq/tidemark/internal/format"
)

// names are few, so that documents, keys and columns meet; some are odd on purpose.
var names = rapid.OneOf(
	rapid.SampledFrom([]string{"id", "region", "k_id", "a.b", "<&>", "é", "", " ", `"`, "\u2028"}),
	rapid.String(),
)

// numbers are such as JSON has, more exact than a float64 is.
var numbers = rapid.OneOf(
	rapid.Map(rapid.Int64(), func(v int64) json.Number { return json.Number(strconv.FormatInt(v, 10)) }),
	rapid.Map(rapid.Uint64(), func(v uint64) json.Number { return json.Number(strconv.FormatUint(v, 10)) }),
	rapid.Map(rapid.StringMatching(`-?(0|[1-9][0-9]{0,30})(\.[0-9]{1,30})?([eE][+-]?[0-9]{1,4})?`),
		func(v string) json.Number { return json.Number(v) }),
)

// scalars are what a JSON document is made of.
func scalars() *rapid.Generator[any] {
	return rapid.OneOf(
		rapid.Just[any](nil),
		rapid.Map(rapid.Bool(), toAny),
		rapid.Map(rapid.String(), toAny),
		rapid.Map(numbers, toAny),
	)
}

func toAny[T any](v T) any { return v }

// documents nests values of leaf.
func documents(leaf *rapid.Generator[any], depth int) *rapid.Generator[any] {
	if depth == 0 {
		return leaf
	}
	below := documents(leaf, depth-1)
	return rapid.OneOf(
		leaf,
		rapid.Map(rapid.SliceOfN(below, 0, 4), toAny),
		rapid.Map(rapid.MapOfN(names, below, 0, 5), toAny),
	)
}

// objects are documents whose top level has fields.
func objects(leaf *rapid.Generator[any]) *rapid.Generator[map[string]any] {
	return rapid.MapOfN(names, documents(leaf, 2), 0, 6)
}

func decodes(t require.TestingT, f public.Format, data string) any {
	content, err := f.Decode(context.Background(), public.Part{}, []byte(data))
	require.NoError(t, err)
	return content
}

func encodes(t require.TestingT, f public.Format, content any) string {
	b, err := f.Encode(context.Background(), public.Part{}, content)
	require.NoError(t, err)
	require.NotNil(t, b)
	return string(b)
}

// decodeError returns what is said about data, "" if it is taken.
func decodeError(f public.Format, data string) string {
	_, err := f.Decode(context.Background(), public.Part{}, []byte(data))
	return text(err)
}

func encodeError(f public.Format, content any) string {
	_, err := f.Encode(context.Background(), public.Part{}, content)
	return text(err)
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func read(t require.TestingT, rd format.Reader, key, value []byte) format.Message {
	m, err := rd.Read(context.Background(), &format.Record{Topic: "orders", Partition: 3, Offset: 42, Timestamp: 1700000000123, Key: key, Value: value})
	require.NoError(t, err)
	return m
}

func write(t require.TestingT, w format.Writer, m format.Message) *format.Record {
	r := &format.Record{Topic: "orders", Partition: -1, Offset: -1}
	require.NoError(t, w.Write(context.Background(), &m, r))
	return r
}

func newPair(t require.TestingT, c format.Config) (format.Reader, format.Writer) {
	rd, err := format.NewReader(c)
	require.NoError(t, err)
	w, err := format.NewWriter(c)
	require.NoError(t, err)
	require.False(t, w.NeedsMetadata())
	return rd, w
}

// strange values for fields, that no format may take for something else.
var nan, infinite = math.NaN(), math.Inf(-1)

// fuzzDecode feeds a decoder with anything; what it takes must survive a round trip.
func fuzzDecode(f *testing.F, name string, codec public.Format, seeds ...string) {
	f.Helper()
	for _, s := range seeds {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		kept := string(data)
		content, err := codec.Decode(context.Background(), public.Part{}, data)
		require.Equal(t, kept, string(data), "%s changed its input", name)
		if err != nil {
			require.NotEmpty(t, err.Error())
			return
		}
		b, err := codec.Encode(context.Background(), public.Part{}, content)
		require.NoError(t, err)
		again, err := codec.Decode(context.Background(), public.Part{}, b)
		require.NoError(t, err)
		require.Equal(t, content, again)
	})
}

func errorOf(f public.Format, content any) error {
	_, err := f.Encode(context.Background(), public.Part{}, content)
	return err
}
