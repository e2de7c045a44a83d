package registry_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/sr"
	"github.com/twmb/franz-go/pkg/sr/srfake"

	"github.com/tidemarkhq/tidemark/format"
	"github.com/tidemarkhq/tidemark/internal/format/registry"
)

const (
	oldOrder = `{"type": "record", "name": "Order", "fields": [{"name": "id", "type": "long"}]}`
	newOrder = `{"type": "record", "name": "Order", "fields": [{"name": "id", "type": "long"},
		{"name": "note", "type": ["null", "string"], "default": null}, {"name": "currency", "type": "string", "default": "EUR"}]}`
)

func order(id int64) map[string]any { return map[string]any{"id": id} }

// A million records by many goroutines, written and read, cost one registration and one look-up.
func TestARegistryIsAskedOnce(t *testing.T) {
	const writers, each = 16, 62_500
	reg := newFake(t)
	f := made(t)(registry.Avro(reg.client(t), registry.Options{Writing: true, Schema: oldOrder}))
	var all sync.WaitGroup
	var failed atomic.Int64
	for w := range writers {
		all.Go(func() {
			for i := range each {
				data, err := f.Encode(t.Context(), value, order(int64(w*each+i)))
				if err != nil || i%100 != 0 {
					if err != nil {
						failed.Add(1)
					}
					continue
				}
				got, err := f.Decode(t.Context(), value, data)
				if err != nil || !assert.ObjectsAreEqual(order(int64(w*each+i)), got) {
					failed.Add(1)
				}
			}
		})
	}
	all.Wait()
	assert.Zero(t, failed.Load())
	assert.Equal(t, 1, reg.asked("POST", "/subjects/orders-value/versions"))
	assert.Equal(t, 1, reg.asked("GET", "/schemas/ids/1"))
	assert.Equal(t, 2, reg.asked("", ""))
}

func TestSubjects(t *testing.T) {
	key, other := value, value
	key.Key = true
	other.Topic = "returns"
	for _, test := range []struct {
		opts registry.Options
		want []string
	}{
		{registry.Options{}, []string{"orders-key", "orders-value", "returns-value"}},
		{registry.Options{Subject: "mine"}, []string{"mine"}},
		{registry.Options{SubjectName: registry.RecordName}, []string{"Order"}},
		{registry.Options{SubjectName: registry.TopicRecordName}, []string{"orders-Order", "returns-Order"}},
	} {
		reg := newFake(t)
		test.opts.Writing, test.opts.Schema = true, oldOrder
		f := made(t)(registry.Avro(reg.client(t), test.opts))
		for range 2 {
			for _, p := range []format.Part{value, key, other} {
				_, err := f.Encode(t.Context(), p, order(1))
				require.NoError(t, err)
			}
		}
		for _, s := range test.want {
			assert.True(t, reg.SubjectExists(s), s)
			// The key and the value of a topic have the same subject by record names.
			assert.LessOrEqual(t, reg.asked("POST", "/subjects/"+s+"/versions"), 2, s)
		}
		assert.Equal(t, len(test.want) == 1 && !strings.Contains(test.want[0], "-"), reg.asked("POST", "") == 1)
	}
}

func TestSD08OlderSchemasAreReadByANewerOne(t *testing.T) {
	reg := newFake(t)
	c := reg.client(t)
	old := made(t)(registry.Avro(c, registry.Options{Writing: true, Schema: oldOrder}))
	data := encode(t, old, order(7))
	want := map[string]any{"id": int64(7), "note": nil, "currency": "EUR"}

	f := made(t)(registry.Avro(c, registry.Options{ReaderSchema: newOrder}))
	assert.Equal(t, want, decode(t, f, data))
	assert.Equal(t, order(7), decode(t, old, data), "without a reader schema it is as it was written")

	// Written once under <topic>-value, and a second time by nobody.
	young := made(t)(registry.Avro(c, registry.Options{Writing: true, Schema: newOrder}))
	for range 10 {
		encode(t, young, order(8))
		encode(t, old, order(8))
	}
	assert.Equal(t, 2, reg.asked("POST", "/subjects/orders-value/versions"), "two schemas")

	for _, version := range []int{2, registry.Latest} {
		f = made(t)(registry.Avro(c, registry.Options{ReaderVersion: version}))
		assert.Equal(t, want, decode(t, f, data))
	}
	f = made(t)(registry.Avro(c, registry.Options{ReaderSchema: `{"type": "record", "name": "Order", "fields": [{"name": "new", "type": "long"}]}`}))
	_, err := f.Decode(t.Context(), value, data)
	assert.ErrorContains(t, err, "schema 1: it cannot be read as the reader schema wants")
	assert.False(t, format.IsUnavailable(err))

	// That there is no reader schema is not the record's fault.
	f = made(t)(registry.Avro(c, registry.Options{ReaderVersion: 3}))
	_, err = f.Decode(t.Context(), value, data)
	assert.ErrorContains(t, err, `reader schema: schema registry `+reg.server.URL+`: version 3 of subject "orders-value": status 404`)
	assert.True(t, format.IsUnavailable(err))

	// What comes from a default is each record's own.
	f = made(t)(registry.Avro(c, registry.Options{ReaderSchema: `{"type": "record", "name": "Order", "fields": [
		{"name": "tags", "type": {"type": "array", "items": "string"}, "default": ["a"]}, {"name": "raw", "type": "bytes", "default": "b"}]}`}))
	for range 2 {
		got := decode(t, f, data).(map[string]any)
		require.Equal(t, map[string]any{"tags": []any{"a"}, "raw": []byte("b")}, got)
		got["tags"].([]any)[0], got["raw"].([]byte)[0] = "changed", 'x'
	}
}

func TestWritingByIDAndVersion(t *testing.T) {
	reg := newFake(t)
	one := reg.add(t, "orders-value", sr.TypeAvro, oldOrder)
	two := reg.add(t, "orders-value", sr.TypeAvro, newOrder)
	c := reg.client(t)
	id := func(o registry.Options) int {
		o.Writing = true
		f := made(t)(registry.Avro(c, o))
		encode(t, f, order(1))
		return int(encode(t, f, order(1))[4])
	}
	assert.Equal(t, one, id(registry.Options{SchemaID: one}))
	assert.Equal(t, one, id(registry.Options{SchemaVersion: 1}))
	assert.Equal(t, two, id(registry.Options{SchemaVersion: registry.Latest}))
	assert.Zero(t, reg.asked("POST", ""), "nothing is registered")
	assert.Equal(t, two, id(registry.Options{Schema: newOrder, LookUpOnly: true}))
	assert.Zero(t, reg.asked("POST", "/versions"), "nothing is registered")
	assert.Equal(t, 1, reg.asked("GET", "/versions/latest"))

	f := made(t)(registry.Avro(c, registry.Options{Writing: true, Schema: `"long"`, LookUpOnly: true}))
	_, err := f.Encode(t.Context(), value, 1.0)
	assert.ErrorContains(t, err, `looking for the schema under subject "orders-value", where it is not registered by us as `+"`register` is false")
	assert.False(t, format.IsUnavailable(err))
}

// latest is asked for again after the period; while the registry is away, what was known holds.
func TestLatestIsRefreshed(t *testing.T) {
	reg := newFake(t)
	one := reg.add(t, "orders-value", sr.TypeAvro, oldOrder)
	c := reg.client(t, func(c *registry.Config) { c.Refresh = time.Millisecond; c.Retries = -1 })
	f := made(t)(registry.Avro(c, registry.Options{Writing: true, SchemaVersion: registry.Latest}))
	require.Equal(t, one, int(encode(t, f, order(1))[4]))
	reg.fail(http.StatusInternalServerError)
	before := reg.asked("GET", "/versions/latest")
	require.Eventually(t, func() bool {
		require.Equal(t, one, int(encode(t, f, order(1))[4]))
		return reg.asked("GET", "/versions/latest") > before
	}, 10*time.Second, time.Millisecond)
	reg.fail(0)
	two := reg.add(t, "orders-value", sr.TypeAvro, newOrder)
	require.Eventually(t, func() bool { return int(encode(t, f, order(1))[4]) == two }, 10*time.Second, 10*time.Millisecond)
}

func TestARefusedSchemaIsTheMessagesOwnError(t *testing.T) {
	reg := newFake(t)
	reg.add(t, "orders-value", sr.TypeAvro, oldOrder)
	b := func(w http.ResponseWriter, r *http.Request) bool {
		w.WriteHeader(http.StatusConflict)
		_, _ = w.Write([]byte(`{"error_code": 409, "message": "Schema being registered is incompatible: READER_FIELD_MISSING_DEFAULT_VALUE at /fields/1"}`))
		return true
	}
	reg.behave.Store(&b)
	f := made(t)(registry.Avro(reg.client(t), registry.Options{Writing: true, Schema: newOrder}))
	for range 50 {
		_, err := f.Encode(t.Context(), value, order(1))
		require.ErrorContains(t, err, `registering a schema under subject "orders-value": status 409: Schema being registered is incompatible: READER_FIELD_MISSING_DEFAULT_VALUE at /fields/1`)
		require.False(t, format.IsUnavailable(err))
	}
	assert.Equal(t, 1, reg.asked("POST", ""), "a storm of messages asks once")
}

func TestAStormOfUnknownIdsDoesNotReachTheRegistry(t *testing.T) {
	reg := newFake(t)
	f := made(t)(registry.Avro(reg.client(t), registry.Options{}))
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 100 {
				_, err := f.Decode(t.Context(), value, []byte{0, 0, 0, 0, 9, 0})
				assert.ErrorContains(t, err, "schema 9: status 404: ")
				assert.False(t, format.IsUnavailable(err))
			}
		})
	}
	all.Wait()
	assert.Equal(t, 2, reg.asked("GET", ""), "twice, because another node may know it")
}

// A node that lags behind the one that a schema was registered at is given another chance.
func TestAnIDThatIsNotKnownYetIsAskedForTwice(t *testing.T) {
	reg := newFake(t)
	id := reg.add(t, "s", sr.TypeAvro, `"long"`)
	var n atomic.Int64
	b := func(w http.ResponseWriter, _ *http.Request) bool {
		if n.Add(1) > 1 {
			return false
		}
		w.WriteHeader(http.StatusNotFound)
		_, _ = w.Write([]byte(`{"error_code": 40403, "message": "Schema not found"}`))
		return true
	}
	reg.behave.Store(&b)
	f := made(t)(registry.Avro(reg.client(t), registry.Options{}))
	assert.Equal(t, int64(1), decode(t, f, []byte{0, 0, 0, 0, byte(id), 2}))
}

func TestAnOutageIsNotTheRecordsFault(t *testing.T) {
	reg := newFake(t)
	id := reg.add(t, "s", sr.TypeAvro, `"long"`)
	other := reg.add(t, "s2", sr.TypeAvro, `"string"`)
	reg.fail(http.StatusServiceUnavailable)
	f := made(t)(registry.Avro(reg.client(t), registry.Options{}))
	record := func(id int) []byte { return []byte{0, 0, 0, 0, byte(id), 2, 'x'}[:6+id/other] }

	_, err := f.Decode(t.Context(), value, record(id))
	require.ErrorContains(t, err, "schema registry "+reg.server.URL+": schema 1: status 503: out of order")
	require.True(t, format.IsUnavailable(err))
	asked := reg.asked("", "")
	assert.Equal(t, 2, asked, "one retry")
	for range 100 {
		_, err = f.Decode(t.Context(), value, record(id))
		require.True(t, format.IsUnavailable(err))
	}
	assert.Equal(t, asked, reg.asked("", ""), "an outage is believed for a moment")

	reg.fail(0)
	require.Eventually(t, func() bool {
		got, err := f.Decode(t.Context(), value, record(id))
		return err == nil && got == int64(1)
	}, 10*time.Second, 10*time.Millisecond)
	// In the middle: what is known is decoded, what is not is unavailable.
	reg.server.Close()
	assert.Equal(t, int64(1), decode(t, f, record(id)))
	_, err = f.Decode(t.Context(), value, record(other))
	require.True(t, format.IsUnavailable(err))
	assert.ErrorContains(t, err, "connection refused")
}

func TestASlowRegistryIsGivenUp(t *testing.T) {
	reg := newFake(t)
	release := make(chan struct{})
	b := func(http.ResponseWriter, *http.Request) bool { <-release; return true }
	reg.behave.Store(&b)
	t.Cleanup(func() { close(release) })
	f := made(t)(registry.Avro(reg.client(t, func(c *registry.Config) { c.Timeout = 50 * time.Millisecond }), registry.Options{}))
	_, err := f.Decode(t.Context(), value, []byte{0, 0, 0, 0, 1, 2})
	require.True(t, format.IsUnavailable(err))
	assert.ErrorIs(t, err, context.DeadlineExceeded)

	// The caller's own context ends the wait of all, and is no bad record either.
	f = made(t)(registry.Avro(reg.client(t), registry.Options{}))
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			_, err := f.Decode(ctx, value, []byte{0, 0, 0, 0, 1, 2})
			assert.ErrorIs(t, err, context.Canceled)
			assert.True(t, format.IsUnavailable(err))
		})
	}
	require.Eventually(t, func() bool { return reg.asked("GET", "/schemas/ids/1") > 2 }, 10*time.Second, time.Millisecond)
	cancel()
	all.Wait()
}

func TestAnotherURLAnswers(t *testing.T) {
	reg := newFake(t)
	reg.add(t, "s", sr.TypeAvro, `"long"`)
	reg.add(t, "s2", sr.TypeAvro, `"int"`)
	sick := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) }))
	t.Cleanup(sick.Close)
	gone := httptest.NewServer(nil)
	gone.Close()
	f := made(t)(registry.Avro(reg.client(t, func(c *registry.Config) {
		c.URLs = []string{gone.URL, sick.URL, reg.server.URL + "/"}
		c.Retries = -1
	}), registry.Options{}))
	assert.Equal(t, int64(1), decode(t, f, []byte{0, 0, 0, 0, 1, 2}))
	sick.Close()
	assert.Equal(t, int64(1), decode(t, f, []byte{0, 0, 0, 0, 2, 2}))
}

func TestCredentialsReachTheRegistryAndNothingElse(t *testing.T) {
	basic := "Basic " + base64.StdEncoding.EncodeToString([]byte("me:geheim"))
	for want, change := range map[string]func(*registry.Config){
		basic:           func(c *registry.Config) { c.Username, c.Password = "me", "geheim" },
		"Bearer geheim": func(c *registry.Config) { c.BearerToken = "geheim" },
		"Custom geheim": func(c *registry.Config) {
			c.Authorize = func(r *http.Request) error { r.Header.Set("Authorization", "Custom geheim"); return nil }
		},
	} {
		reg := newFake(t, srfake.WithAuth(want))
		reg.add(t, "s", sr.TypeAvro, `"long"`)
		f := made(t)(registry.Avro(reg.client(t, change), registry.Options{}))
		assert.Equal(t, int64(1), decode(t, f, []byte{0, 0, 0, 0, 1, 2}))

		wrong := newFake(t, srfake.WithAuth("something else"))
		f = made(t)(registry.Avro(wrong.client(t, change), registry.Options{}))
		_, err := f.Decode(t.Context(), value, []byte{0, 0, 0, 0, 1, 2})
		require.ErrorContains(t, err, "the credentials lack a right for this: status 403")
		assert.True(t, format.IsUnavailable(err), "never a bad record")
		assert.NotContains(t, err.Error(), "geheim")
		assert.Equal(t, 1, wrong.asked("", ""), "a refusal is not retried")
		wrong.fail(http.StatusUnauthorized)
		_, err = f.Decode(t.Context(), value, []byte{0, 0, 0, 0, 2, 2})
		require.ErrorContains(t, err, "it refuses the credentials, or wants some: status 401")
		assert.True(t, format.IsUnavailable(err), "never a bad record")
	}
}

func TestTLS(t *testing.T) {
	reg := startFake(t, true)
	reg.add(t, "s", sr.TypeAvro, `"long"`)
	pool := x509.NewCertPool()
	pool.AddCert(reg.server.Certificate())
	f := made(t)(registry.Avro(reg.client(t, func(c *registry.Config) { c.TLS = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12} }), registry.Options{}))
	assert.Equal(t, int64(1), decode(t, f, []byte{0, 0, 0, 0, 1, 2}))

	f = made(t)(registry.Avro(reg.client(t), registry.Options{}))
	_, err := f.Decode(t.Context(), value, []byte{0, 0, 0, 0, 1, 2})
	assert.ErrorContains(t, err, "certificate signed by unknown authority")
	assert.True(t, format.IsUnavailable(err))
}

// A wrong path, or a server that is no registry, must not make every record a bad one.
func TestWhatIsNoRegistryIsUnavailable(t *testing.T) {
	for name, handler := range map[string]http.HandlerFunc{
		"its path":              http.NotFound,
		"unable to decode":      func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<html>login</html>")) },
		"http: request body to": func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, 17<<20)) },
		"status 404: HTTP 404": func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusNotFound)
			_, _ = w.Write([]byte(`{"error_code": 404, "message": "HTTP 404 Not Found"}`))
		},
	} {
		server := httptest.NewServer(handler)
		c, err := registry.NewClient(registry.Config{URLs: []string{server.URL}, Retries: -1, Timeout: time.Minute})
		require.NoError(t, err)
		f := made(t)(registry.Avro(c, registry.Options{}))
		_, err = f.Decode(t.Context(), value, []byte{0, 0, 0, 0, 1, 2})
		assert.ErrorContains(t, err, name)
		assert.True(t, format.IsUnavailable(err), name)
		c.Close()
		server.Close()
	}
}

func TestConfigurationsAreRefusedByField(t *testing.T) {
	for want, c := range map[string]registry.Config{
		"url: is missing":                      {},
		"url: http://me:xxxxx@host holds cred": {URLs: []string{"http://me:geheim@host"}},
		`url: "ftp://host" must be`:            {URLs: []string{"ftp://host?token=geheim"}},
		"url: one is not a URL":                {URLs: []string{"http://geheim%zz"}},
		"basic_auth and bearer_token exclude":  {URLs: []string{"http://h"}, Username: "geheim", BearerToken: "geheim"},
		"timeout: -1s must be above 0":         {URLs: []string{"http://h"}, Timeout: -time.Second},
		"retries: -2 must be":                  {URLs: []string{"http://h"}, Retries: -2},
		"refresh_period: -1s must be above 0":  {URLs: []string{"http://h"}, Refresh: -time.Second},
		"bearer_token: holds a line break":     {URLs: []string{"http://h"}, BearerToken: "geheim\n"},
	} {
		_, err := registry.NewClient(c)
		require.ErrorContains(t, err, want)
		assert.NotContains(t, err.Error(), "geheim")
	}
	c := newFake(t).client(t)
	for want, o := range map[string]registry.Options{
		"set `schema` to the schema's text, `schema_id` to its id, or `schema_version`": {Writing: true},
		"schema, schema_id and schema_version exclude each other":                       {Schema: `"int"`, SchemaID: 1},
		"reader_schema and reader_schema_version exclude each other":                    {ReaderSchema: `"int"`, ReaderVersion: 1},
		"subject_name: \"x\" must be topic, record or topic_record":                     {SubjectName: "x"},
		"subject_name: with record the subject follows from the schema":                 {SubjectName: registry.RecordName, ReaderVersion: 1},
		"schema: no Avro schema":        {Writing: true, Schema: `{"type": "lang"}`},
		"reader_schema: no Avro schema": {ReaderSchema: `{"type": "lang"}`},
		"schema_id: -5 must be above 0": {SchemaID: -5},
		"schema_version: -5 must be":    {SchemaVersion: -5},
		"references: ":                  {References: []registry.Reference{{Name: "x"}}},
	} {
		_, err := registry.Avro(c, o)
		assert.ErrorContains(t, err, want)
	}
	f := made(t)(registry.Avro(c, registry.Options{}))
	_, err := f.Encode(t.Context(), value, order(1))
	assert.ErrorContains(t, err, "there is nothing that says what to write with")
}

func TestASchemaOfAnotherType(t *testing.T) {
	reg := newFake(t)
	id := reg.add(t, "s", sr.TypeJSON, `{"type": "object"}`)
	f := made(t)(registry.Avro(reg.client(t), registry.Options{}))
	_, err := f.Decode(t.Context(), value, []byte{0, 0, 0, 0, byte(id), '{', '}'})
	assert.EqualError(t, err, "schema "+strconv.Itoa(id)+" is of type JSON, and the format is for AVRO")
	assert.False(t, format.IsUnavailable(err))
}
