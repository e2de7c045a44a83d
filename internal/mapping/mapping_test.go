package mapping_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redpanda-data/benthos/v4/public/bloblang"
	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/require"

	"github.com/tidemarkhq/tidemark/internal/mapping"
)

func parse(t testing.TB, text string) *bloblang.Executor {
	exec, err := bloblang.GlobalEnvironment().Parse(text)
	require.NoError(t, err, text)
	return exec
}

func ask(batch service.MessageBatch, m *mapping.Mapping) (any, error) {
	return mapping.On(batch, m).Value(m, 0)
}

// paths are mappings that take the shorter way.
var paths = []string{
	"this.a", "root = this.a.b", " this.a.b.c ", "this.a * 1000", "root = this.a.b / 1000", "@m", "root = @m", "@m * 1000", "@m / 3", "@none", "@none * 2",
}

// whole are parts of documents, of which several are what parsers differ about.
var values = []string{
	`1`, `-0`, `1.5`, `1e3`, `1E400`, `9223372036854775807`, `9223372036854775808`, `-9223372036854775808`, `123456789012345678901234567890`,
	`"text"`, `"null"`, `"\u0061\n\ud83d\ude00"`, `"\ud800"`, "\"\xff\"", `""`, `true`, `false`, `null`, `[]`, `[1,{"b":2}]`, `{}`, `{"b":1}`, `{"b":{"c":2}}`,
	`{"b":1,"b":2}`, `{ "x" : [ "}" , {} ] , "b" : "]\"" }`, `{"\\"":"","b":"\\\\"}`, `{"\u0062":7}`, `[{"b":1},{"b":2}]`, `01`, `nul`, `.5`, `+1`, `"`, "\"\t\"", `{"b":}`, `{"b":1,}`, `1 2`,
	`4503599627370497`, `9007199254740993`,
}

func document(r *rand.Rand) string {
	switch r.IntN(12) {
	case 0:
		return values[r.IntN(len(values))]
	case 1:
		return ""
	}
	var b strings.Builder
	b.WriteByte('{')
	for i := range 1 + r.IntN(3) {
		if i > 0 {
			b.WriteString([]string{",", " , "}[r.IntN(2)])
		}
		fmt.Fprintf(&b, "%s:%s", []string{`"a"`, `"a"`, `"x"`, `"\u0061"`, `"a.b"`}[r.IntN(5)], values[r.IntN(len(values))])
	}
	b.WriteByte('}')
	if r.IntN(10) == 0 {
		b.WriteString([]string{" ", "{}", "x", "\n"}[r.IntN(4)])
	}
	doc := []byte(b.String())
	if r.IntN(8) == 0 {
		const other = "{}[]\":,\\0-+.eEtfn u\x00\n\xff"
		doc[r.IntN(len(doc))] = other[r.IntN(len(other))]
	}
	if r.IntN(20) == 0 {
		doc = doc[:r.IntN(len(doc))]
	}
	return string(doc)
}

var metadata = []any{int64(5), 7, 2.5, "text", "null", "12", true, nil, []any{int64(1)}, map[string]any{"a": int64(1)}, uint32(9), json.Number("12"), time.Unix(1, 0)}

// The shorter way has the same results as the mapping, and the same errors.
func TestPathsAreLikeTheirMappings(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("TIDEMARK_SEED"); s != "" {
		n, err := strconv.ParseUint(s, 10, 64)
		require.NoError(t, err)
		seed = n
	}
	r := rand.New(rand.NewPCG(seed, 0))
	execs := map[string]*bloblang.Executor{}
	for range 30000 {
		text, doc := paths[r.IntN(len(paths))], document(r)
		if execs[text] == nil {
			execs[text] = parse(t, text)
		}
		exec := execs[text]
		message := func() service.MessageBatch {
			m := service.NewMessage([]byte(doc))
			return service.MessageBatch{m}
		}
		fast, slow := message(), message()
		if i := r.IntN(len(metadata) + 1); i < len(metadata) {
			fast[0].MetaSetMut("m", metadata[i])
			slow[0].MetaSetMut("m", metadata[i])
		}
		got, err := ask(fast, mapping.New(exec, text))
		want, wantErr := ask(slow, mapping.New(exec, "something else"))
		require.Equal(t, fmt.Sprint(wantErr), fmt.Sprint(err), "%s of %q; TIDEMARK_SEED=%d", text, doc, seed)
		require.Equal(t, want, got, "%s of %q; TIDEMARK_SEED=%d", text, doc, seed)

		m, other := mapping.New(exec, text), mapping.New(exec, "this.x")
		q := mapping.On(fast, other, nil, m)
		if n, ok := q.Int(m, 0); ok {
			require.Equal(t, want, n, "%s of %q; TIDEMARK_SEED=%d", text, doc, seed)
		}
		if b, ok := q.AppendText([]byte("="), m, 0); ok {
			require.Equal(t, "="+fmt.Sprint(want), string(b), "%s of %q; TIDEMARK_SEED=%d", text, doc, seed)
		}
	}
}

func TestWhatIsAPath(t *testing.T) {
	broken := service.MessageBatch{service.NewMessage([]byte(`{"a":1}`))}
	fails := parse(t, `root = throw("slow")`)
	for text, fast := range map[string]bool{
		"this.a": true, "root = this.a": true, "this.a * 1000": true, "this.a / 1000": true, "@m": true,
		"this": false, "this.a.number()": false, "this.a * 0": false, "this.a + 1": false, "this.a-b": false, "this.a | 1": false,
		"root.a = this.a": false, "@": false, `this."a"`: false, "this.a # comment": false, "this.a\nroot = this.b": false, "this.0": false,
	} {
		_, err := ask(broken, mapping.New(fails, text))
		if text == "@m" {
			require.NoError(t, err)
			continue
		}
		require.Equal(t, fast, err == nil, text)
	}
}

func TestWhatAMappingReturns(t *testing.T) {
	for _, tc := range []struct {
		text, doc string
		want      any
		nothing   bool
	}{
		{text: `root = if this.w != null { this.w }`, doc: `{"w":5}`, want: int64(5)},
		{text: `root = if this.w != null { this.w }`, doc: `{"x":5}`, nothing: true},
		{text: `root = if this.w != null { this.w }`, doc: ` {"x":5}`, nothing: true},
		{text: `root = deleted()`, doc: `{}`, nothing: true},
		{text: `root = null`, doc: `{}`, want: nil},
		{text: `root = this.a.uppercase()`, doc: `{"a":"x"}`, want: "X"},
		{text: `root = this`, doc: `12`, want: int64(12)},
		{text: `root = this.a.map_each(v -> v + 1)`, doc: `{"a":[1]}`, want: []any{int64(2)}},
	} {
		v, err := ask(service.MessageBatch{service.NewMessage([]byte(tc.doc))}, mapping.New(parse(t, tc.text), tc.text))
		if tc.nothing {
			require.ErrorIs(t, err, mapping.ErrNothing, tc.text)
			continue
		}
		require.NoError(t, err, tc.text)
		require.Equal(t, tc.want, v, tc.text)
	}
}

var ways = map[string]string{"path": "this.ts", "mapping": "this.ts.or(0)"}

func BenchmarkValue(b *testing.B) {
	doc := []byte(`{"user":"user-000123","ts":1790000000123,"v":17}`)
	for name, text := range ways {
		b.Run(name, func(b *testing.B) {
			m := mapping.New(parse(b, text), text)
			batch := make(service.MessageBatch, 1000)
			for i := range batch {
				batch[i] = service.NewMessage(doc)
			}
			b.ReportAllocs()
			for b.Loop() {
				q := mapping.On(batch, m)
				for i := range batch {
					if _, err := q.Value(m, i); err != nil {
						b.Fatal(err)
					}
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(batch)), "ns/value")
		})
	}
}
