package behaviour

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sr/srfake"

	"github.com/tidemarkhq/tidemark/internal/kafkatest"
)

const (
	writtenOrder = `{"type": "record", "name": "Order", "fields": [{"name": "id", "type": "long"}]}`
	wantedOrder  = `{"type": "record", "name": "Order", "fields": [{"name": "id", "type": "long"}, {"name": "note", "type": ["null", "string"], "default": null}]}`
)

// schemas is a schema registry that counts what it is asked, and can be out of order.
type schemas struct {
	*srfake.Registry
	url string
	out atomic.Bool

	mu    sync.Mutex
	asked map[string]int
	auth  map[string]bool
}

func startSchemas(t testing.TB, opts ...srfake.Option) *schemas {
	t.Helper()
	r := &schemas{Registry: srfake.NewRegistry(opts...), asked: map[string]int{}, auth: map[string]bool{}}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		r.mu.Lock()
		r.asked[req.Method+" "+req.URL.Path]++
		r.auth[req.Header.Get("Authorization")] = true
		r.mu.Unlock()
		if r.out.Load() {
			http.Error(w, "out of order", http.StatusServiceUnavailable)
			return
		}
		r.Handler().ServeHTTP(w, req)
	}))
	t.Cleanup(server.Close)
	r.url = server.URL
	return r
}

func (r *schemas) count(request string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.asked[request]
}

// of is a schema_registry block with further fields.
func (r *schemas) of(fields string) string {
	return fmt.Sprintf("schema_registry: { url: [ %q ], retries: 0, %s }", r.url, fields)
}

func orders(from, to int) (rs []kgo.Record) {
	for i := from; i < to; i++ {
		rs = append(rs, kgo.Record{Key: fmt.Appendf(nil, `"c%d"`, i%3), Value: fmt.Appendf(nil, `{"id":%d}`, i)})
	}
	return rs
}

// throughFormats copies what a topic holds now into another one.
func throughFormats(t *testing.T, e kafkatest.Endpoint, in, input, out, output string) {
	t.Helper()
	s := start(t, e, formatsYAML(in, out, input+", stop_at: latest, start_from: earliest", output, "root = this"))
	s.ended()
	require.NoError(t, s.err)
}

func TestSD08_OlderSchemasAreReadByANewerOneAndOneIsRegisteredOnce(t *testing.T) {
	reg, e := startSchemas(t), kafkatest.Fake(t)
	in, coded := topics(t, e, 1)
	out := kafkatest.Topic(t, e, 1)
	for _, r := range orders(0, 300) {
		r.Topic = in
		kafkatest.Produce(t, e, &r)
	}
	writing := "format: avro, key_format: avro, " + reg.of(fmt.Sprintf(`schema: '%s', key: { schema: '"string"' }`, writtenOrder))
	throughFormats(t, e, in, "fetch_max_wait: 100ms, format: json, key_format: string", coded, writing)
	for _, part := range []string{"value", "key"} {
		subject := coded + "-" + part
		require.True(t, reg.SubjectExists(subject), subject)
		require.Equal(t, 1, reg.count("POST /subjects/"+subject+"/versions"), subject)
	}
	for i, r := range kafkatest.ReadCommitted(t, e, coded)[0] {
		require.EqualValues(t, 0, r.Value[0], "the magic byte of record %d", i)
	}

	throughFormats(t, e, coded, "fetch_max_wait: 100ms, format: avro, key_format: avro, "+reg.of("reader_schema: '"+wantedOrder+"'"), out, "format: json, key_format: string")
	rs := kafkatest.ReadCommitted(t, e, out)[0]
	require.Len(t, rs, 300)
	for i, r := range rs {
		require.Equal(t, fmt.Sprintf(`"c%d" {"id":%d,"note":null}`, i%3, i), string(r.Key)+" "+string(r.Value))
	}
	require.LessOrEqual(t, reg.count("GET /schemas/ids/1"), 1)
	require.LessOrEqual(t, reg.count("GET /schemas/ids/2"), 1)
}

// A registry that is away makes no record a bad one, on neither side: all wait, and go on.
func TestARegistryThatIsAwayIsWaitedFor(t *testing.T) {
	reg, e := startSchemas(t), kafkatest.Fake(t)
	in, coded := topics(t, e, 1)
	out := kafkatest.Topic(t, e, 1)
	for _, r := range orders(0, 50) {
		r.Topic = in
		kafkatest.Produce(t, e, &r)
	}
	await := func(topic string, n int) {
		t.Helper()
		kafkatest.Until(t, patience, func() error {
			if rs := kafkatest.ReadCommitted(t, e, topic)[0]; len(rs) != n {
				return fmt.Errorf("%s holds %d records of %d", topic, len(rs), n)
			}
			return nil
		})
	}
	said := func(s *stream, what string) {
		t.Helper()
		kafkatest.Eventually(t, patience, "it is logged", func() bool { return len(s.logs.lines(what)) > 0 })
	}

	reg.out.Store(true)
	writer := start(t, e, formatsYAML(in, coded, "format: json", "format: avro, "+reg.of("schema: '"+writtenOrder+"'"), "root = this"))
	said(writer, "status 503")
	require.Empty(t, kafkatest.ReadCommitted(t, e, coded)[0])
	reg.out.Store(false)
	await(coded, 50)

	reg.out.Store(true)
	reader := start(t, e, formatsYAML(coded, out, "on_bad_record: skip, format: avro, "+reg.of(""), "format: json", "root = this"))
	said(reader, "status 503")
	require.Empty(t, kafkatest.ReadCommitted(t, e, out)[0])
	reg.out.Store(false)
	await(out, 50)
	require.Empty(t, reader.logs.lines("skipped"))
	for i, r := range kafkatest.ReadCommitted(t, e, out)[0] {
		require.Equal(t, fmt.Sprintf(`{"id":%d}`, i), string(r.Value))
	}

	// What is known needs no registry.
	reg.out.Store(true)
	for _, r := range orders(50, 100) {
		r.Topic = in
		kafkatest.Produce(t, e, &r)
	}
	await(out, 100)
	// A schema id that nobody has is the record's fault, once the registry says so.
	reg.out.Store(false)
	kafkatest.Produce(t, e, &kgo.Record{Topic: coded, Value: []byte{0, 0, 0, 0, 99, 2}}, &kgo.Record{Topic: coded, Value: []byte{0, 0, 0, 0, 1, 84}})
	await(out, 101)
	said(reader, "99")
	require.NoError(t, writer.stop())
	require.NoError(t, reader.stop())
}

// One block of credentials is good for the brokers and for the registry.
func TestFieldInheritSASL(t *testing.T) {
	reg := startSchemas(t, srfake.WithAuth("Basic dTpyaWdodA==")) // u:right
	login := []kgo.Opt{kgo.SASL(plain.Auth{User: "u", Pass: "right"}.AsMechanism())}
	e := guarded(t, login, kfake.EnableSASL(), kfake.Superuser("PLAIN", "u", "right"))
	s := start(t, e, formatsYAML("in", "out", "sasl: &login [ { mechanism: PLAIN, username: u, password: right } ], stop_at: latest",
		"sasl: *login, format: avro, "+reg.of("inherit_sasl: true, schema: '"+writtenOrder+"'"), `root = {"id": 1}`))
	s.ended()
	require.NoError(t, s.err)
	require.True(t, reg.SubjectExists("out-value"))
	require.Equal(t, map[string]bool{"Basic dTpyaWdodA==": true}, reg.auth)
	require.Empty(t, s.logs.lines("right"))
}
