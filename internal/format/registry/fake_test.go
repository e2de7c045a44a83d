package registry_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/sr"
	"github.com/twmb/franz-go/pkg/sr/srfake"

	"github.com/tidemarkhq/tidemark/format"
	"github.com/tidemarkhq/tidemark/internal/format/registry"
)

// fake is a registry in this process that counts what it is asked, and can fail.
type fake struct {
	*srfake.Registry
	server *httptest.Server

	mu       sync.Mutex
	requests map[string]int // by method and path
	// behave handles a request instead of the registry if it returns true.
	behave atomic.Pointer[func(http.ResponseWriter, *http.Request) bool]
}

func newFake(t testing.TB, opts ...srfake.Option) *fake { return startFake(t, false, opts...) }

func startFake(t testing.TB, tls bool, opts ...srfake.Option) *fake {
	f := &fake{Registry: srfake.NewRegistry(opts...), requests: map[string]int{}}
	f.server = httptest.NewUnstartedServer(http.HandlerFunc(f.serve))
	if tls {
		f.server.StartTLS()
	} else {
		f.server.Start()
	}
	t.Cleanup(f.server.Close)
	return f
}

func (f *fake) serve(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	f.requests[r.Method+" "+r.URL.Path]++
	f.mu.Unlock()
	if b := f.behave.Load(); b != nil && (*b)(w, r) {
		return
	}
	f.Handler().ServeHTTP(w, r)
}

// fail answers all requests with a status, until 0 ends it.
func (f *fake) fail(status int) {
	if status == 0 {
		f.behave.Store(nil)
		return
	}
	b := func(w http.ResponseWriter, _ *http.Request) bool {
		w.WriteHeader(status)
		_, _ = w.Write([]byte("out of order"))
		return true
	}
	f.behave.Store(&b)
}

// asked counts the requests of a method whose path contains a text.
func (f *fake) asked(method, text string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := 0
	for k, c := range f.requests {
		if strings.HasPrefix(k, method) && strings.Contains(k, text) {
			n += c
		}
	}
	return n
}

// add registers a schema and returns its id.
func (f *fake) add(t testing.TB, subject string, typ sr.SchemaType, text string, refs ...sr.SchemaReference) int {
	id, _, err := f.RegisterSchema(subject, sr.Schema{Schema: text, Type: typ, References: refs})
	require.NoError(t, err)
	return id
}

// client of the registry; its configuration can be changed before it is made.
func (f *fake) client(t testing.TB, change ...func(*registry.Config)) *registry.Client {
	c := registry.Config{URLs: []string{f.server.URL}, Timeout: 5 * time.Second, Retries: 1}
	for _, do := range change {
		do(&c)
	}
	cl, err := registry.NewClient(c)
	require.NoError(t, err)
	t.Cleanup(cl.Close)
	return cl
}

// made demands that a format can be made.
func made(t testing.TB) func(format.Format, error) format.Format {
	return func(f format.Format, err error) format.Format {
		require.NoError(t, err)
		return f
	}
}

var value = format.Part{Topic: "orders", Partition: -1, Offset: -1}

func encode(t testing.TB, f format.Format, content any) []byte {
	data, err := f.Encode(context.Background(), value, content)
	require.NoError(t, err)
	return data
}

func decode(t testing.TB, f format.Format, data []byte) any {
	content, err := f.Decode(context.Background(), value, data)
	require.NoError(t, err)
	return content
}
