package behaviour

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemarkhq/tidemark/format"
	"github.com/tidemarkhq/tidemark/internal/kafkatest"
)

// formatsYAML copies with fields for the input and for the output, and a mapping between them.
func formatsYAML(in, out, input, output, mapping string) string {
	return fmt.Sprintf(`
input:
  kafka_checkpointed: { seed_brokers: $SEEDS, topics: [ %s ], consumer_group: g, %s }
pipeline:
  processors: [ { mapping: '%s' } ]
output:
  kafka_checkpointed: { seed_brokers: $SEEDS, topic: %s, %s }
`, in, input, mapping, out, output)
}

// reformed runs records through a stream, and returns what comes out.
func reformed(t *testing.T, input, output, mapping string, records ...kgo.Record) []*kgo.Record {
	t.Helper()
	var got []*kgo.Record
	synctest.Test(t, func(t *testing.T) {
		e := kafkatest.Virtual(t)
		in, out := topics(t, e, 1)
		for i := range records {
			records[i].Topic = in
			kafkatest.Produce(t, e, &records[i])
		}
		s := start(t, e, formatsYAML(in, out, input+", stop_at: latest", output, mapping))
		s.ended()
		require.NoError(t, s.err)
		got = kafkatest.ReadCommitted(t, e, out)[0]
	})
	return got
}

func record(key, value string) kgo.Record {
	r := kgo.Record{Value: []byte(value)}
	if key != "" {
		r.Key = []byte(key)
	}
	return r
}

// pairs are keys and values; an absent key is "-", an absent value too.
func pairs(rs []*kgo.Record) (all []string) {
	text := func(b []byte) string {
		if b == nil {
			return "-"
		}
		return string(b)
	}
	for _, r := range rs {
		all = append(all, text(r.Key)+" "+text(r.Value))
	}
	return all
}

func TestSD01_OnlyTheValueIsDecoded(t *testing.T) {
	value := "a\x00\u00e9 \n"
	for _, name := range []string{"raw", "string"} {
		got := reformed(t, "format: "+name+", metadata: [ none ]", "format: "+name, `root = if @.length() > 0 { throw("%v".format(@)) }`,
			record("k", value), record("", value))
		require.Equal(t, []string{"k " + value, "- " + value}, pairs(got), name)
	}
}

func TestSD02_KeyAndValueAreDecodedEachOnItsOwn(t *testing.T) {
	records := func() []kgo.Record {
		return []kgo.Record{record(`{"k":1}`, `{"v":12345678901234567890.10}`), record("", "null"), {Key: []byte("[2]")}}
	}
	doc := `root = {"value": this.format_json(no_indent: true).string()}`
	require.Equal(t, []string{
		`- "{\"key\":{\"k\":1},\"value\":{\"v\":12345678901234567890.10}}"`,
		`- "{\"key\":null,\"value\":null}"`,
		`- "{\"key\":[2],\"value\":null}"`,
	}, pairs(reformed(t, "format: json_key_value", "format: json_key_value", doc, records()...)))

	got := reformed(t, "format: json_key_value, include_metadata: true", "format: json_key_value",
		`root = {"key": this.key, "value": [this.metadata.topic.length() > 0, this.metadata.partition, this.metadata.offset, this.metadata.timestamp > 0]}`, records()...)
	require.Equal(t, []string{`{"k":1} [true,0,0,true]`, "- [true,0,1,true]", "[2] [true,0,2,true]"}, pairs(got))
}

func TestSD04_KeyAndValueAreEncodedEachInItsOwnWay(t *testing.T) {
	got := reformed(t, "format: json", "format: csv, csv: { columns: [ { name: b }, { name: a, type: int } ] }, key_format: json, key_fields: [ a ]",
		`root = this`, record("", `{"a":1,"b":"x,y"}`))
	require.Equal(t, []string{`{"a":1} "x,y",1`}, pairs(got))
}

// sometimes is a format of a build that makes no record of some messages, and uses one buffer
// for all.
type sometimes struct {
	mu   sync.Mutex
	skip string
	buf  []byte
	doc  map[string]any
}

func (s *sometimes) Decode(_ context.Context, _ format.Part, data []byte) (any, error) {
	if len(data) == 0 {
		return nil, errors.New("it is empty")
	}
	s.doc["text"] = string(data)
	return s.doc, nil
}

func (s *sometimes) Encode(_ context.Context, _ format.Part, content any) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.buf = fmt.Appendf(s.buf[:0], "%v", content.(map[string]any)["text"])
	if bytes.Contains(s.buf, []byte(s.skip)) {
		return nil, format.ErrNothing
	}
	return s.buf, nil
}

var registerSometimes = sync.OnceValue(func() error {
	return format.Register("test.sometimes", func(s format.Settings) (format.Format, error) {
		skip, ok := s.Options["skip"].(string)
		if !ok {
			return nil, errors.New("the option skip is missing")
		}
		return &sometimes{skip: skip, doc: map[string]any{}}, nil
	})
})

func TestSD05_NothingIsSentForWhatIsEncodedToNothing(t *testing.T) {
	require.NoError(t, registerSometimes())
	synctest.Test(t, func(t *testing.T) {
		e := kafkatest.Virtual(t)
		in, out := topics(t, e, 1)
		produce(t, e, in, "a", "skip", "b", "skip", "skip", "c")
		some := "format: test.sometimes, format_options: { skip: skip }"
		s, m := startMeasured(t, e, formatsYAML(in, out, some+", stop_at: latest", some, "root = this"))
		s.ended()
		require.NoError(t, s.err)
		require.Equal(t, [][]string{{"a", "b", "c"}}, values(t, e, out))
		sent, _ := m.get("tidemark_records_out")
		require.Equal(t, int64(3), sent)
		failed, _ := m.get("tidemark_producer_errors")
		require.Zero(t, failed)
		require.Equal(t, int64(6), committedAt(t, e, in, 0))
	})
	s, err := build(t, kafkatest.Fake(t), formatsYAML("in", "out", "format: test.sometimes", "format: raw", "root = this"), &logs{})
	require.NoError(t, err)
	err = s.Run(t.Context())
	require.ErrorContains(t, err, "the option skip is missing")
}

func TestSD06_EachRecordKeepsItsOwnContent(t *testing.T) {
	require.NoError(t, registerSometimes())
	some := "format: test.sometimes, format_options: { skip: none }"
	var records []kgo.Record
	var want []string
	for i := range 200 {
		records = append(records, record("", fmt.Sprintf("text %d", i)))
		want = append(want, fmt.Sprintf("- text %d", i))
	}
	require.Equal(t, want, pairs(reformed(t, some, some, "root = this", records...)))
}

func TestSD07_KeyFields(t *testing.T) {
	const columns = "csv: { columns: [ { name: b, type: int }, { name: a }, { name: c, type: bool } ] }"
	value := record("", `{"a":"x","b":7,"c":true}`)
	for name, c := range map[string]struct{ value, key, fields, wire string }{
		"json":                 {"json", "json", "key_fields: [ b, a ]", `{"b":7,"a":"x"} {"a":"x","b":7,"c":true}`},
		"json, value without":  {"json", "json", "key_fields: [ b, a ], value_includes_key: false", `{"b":7,"a":"x"} {"c":true}`},
		"csv":                  {"csv", "csv", columns + ", key_fields: [ c, b ]", `true,7 7,x,true`},
		"csv, value without":   {"csv", "csv", columns + ", key_fields: [ c, b ], value_includes_key: false", `true,7 x`},
		"json under a csv key": {"json", "csv", columns + ", key_fields: [ b ], value_includes_key: false", `7 {"a":"x","c":true}`},
		"csv under a json key": {"csv", "json", columns + ", key_fields: [ a ]", `{"a":"x"} 7,x,true`},
	} {
		t.Run(name, func(t *testing.T) {
			fields := fmt.Sprintf("format: %s, key_format: %s, %s", c.value, c.key, c.fields)
			written := reformed(t, "format: json", fields, "root = this", value)
			require.Equal(t, []string{c.wire}, pairs(written))
			again := reformed(t, fields, "format: json, key: ''", "root = this", kgo.Record{Key: written[0].Key, Value: written[0].Value})
			require.Equal(t, []string{`- {"a":"x","b":7,"c":true}`}, pairs(again), "every field is back, with its own value")
		})
	}
}

func TestFieldsOfCSV(t *testing.T) {
	columns := "format: csv, csv: { columns: [ { name: a }, { name: b, type: int } ], "
	both := func(fields string, in string) []string {
		return pairs(reformed(t, columns+fields+" }", "format: json", "root = this", record("", in)))
	}
	require.Equal(t, []string{`- {"a":"x;y","b":1}`}, both(`delimiter: ";", quote: "|"`, "|x;y|;1"))
	require.Equal(t, []string{`- {"a":"","b":null}`}, both(`null_literal: nil`, ",nil"))
	require.Equal(t, []string{`- {"a":"x","b":null}`}, both(`allow_missing: true`, "x"))
	require.Equal(t, []string{`- {"a":"x","b":1}`}, both(`allow_extra: true`, "x,1,2"))
}

// A key field and a value field have the same name and other types.
func TestSD07_KeyPrefix(t *testing.T) {
	fields := "format: json, key_format: json, key_fields: [ key_id, key_a ], key_prefix: key_, value_includes_key: false"
	doc := `{"id":[1],"key_a":"k","key_id":7}`
	written := reformed(t, "format: json", fields, "root = this", record("", doc))
	require.Equal(t, []string{`{"id":7,"a":"k"} {"id":[1]}`}, pairs(written))
	again := reformed(t, fields, "format: json, key: ''", "root = this", kgo.Record{Key: written[0].Key, Value: written[0].Value})
	require.Equal(t, []string{"- " + doc}, pairs(again))
}

// What another pipeline put into the metadata is there beside what the broker says of the
// record.
func TestMD04_MetadataOfTheFormatAndOfTheBroker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := kafkatest.Virtual(t)
		in, out := topics(t, e, 1)
		between := kafkatest.Topic(t, e, 1)
		produce(t, e, in, `{"a":1.50}`)
		s := start(t, e, formatsYAML(in, between, "stop_at: latest", "format: envelope", `meta source = {"table": "orders", "at": 12}`))
		s.ended()
		require.NoError(t, s.err)
		s = start(t, e, strings.Replace(formatsYAML(between, out, "format: envelope, stop_at: latest", "format: raw",
			`root = [this, @source.table, @source.at, @kafka_topic, @kafka_offset]`), "consumer_group: g", "consumer_group: h", 1))
		s.ended()
		require.NoError(t, s.err)
		require.Equal(t, [][]string{{fmt.Sprintf(`[{"a":1.50},"orders",12,"%s",0]`, between)}}, values(t, e, out))
	})
}

// Messages that the format cannot write are errors of their own, which the pipeline routes.
func TestFormatErrorsOfMessagesAreRouted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := kafkatest.Virtual(t)
		in, out := topics(t, e, 1)
		dead := kafkatest.Topic(t, e, 1)
		produce(t, e, in, `{"a":1}`, `{"a":`, ``, `{"a":2}`)
		head, _, _ := strings.Cut(copyYAML(in, "", "g", ""), "output:\n")
		s := start(t, e, head+`
output:
  fallback:
    - kafka_checkpointed: { seed_brokers: $SEEDS, topic: `+out+`, format: json }
    - kafka_checkpointed: { seed_brokers: $SEEDS, topic: `+dead+` }
`)
		awaitHeld(t, e, out, [][]string{{`{"a":1}`, `{"a":2}`}})
		awaitHeld(t, e, dead, [][]string{{`{"a":`, ``}})
		require.NoError(t, s.stop())
	})
}

// A tombstone has no value to decode or to encode.
func TestFormatsPassTombstonesOn(t *testing.T) {
	for _, name := range []string{"string", "json", "csv"} {
		fields := "format: " + name
		if name == "csv" {
			fields += ", csv: { columns: [ { name: a } ] }"
		}
		got := reformed(t, fields, fields, "meta x = 1", kgo.Record{Key: []byte("k")})
		require.Equal(t, []string{"k -"}, pairs(got), name)
	}
}
