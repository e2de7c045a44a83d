package connection_test

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/assert"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemarkhq/tidemark/internal/connection"
)

// logs collects what a stream's logger writes.
type logs struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logs) lines() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	defer l.buf.Reset()
	return strings.Split(strings.TrimSuffix(l.buf.String(), "\n"), "\n")
}

func newLogger() (*connection.Logger, *logs) {
	out := &logs{}
	h := slog.NewTextHandler(out, &slog.HandlerOptions{Level: slog.LevelDebug, ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}})
	return connection.NewLogger(service.NewLoggerFromSlog(slog.New(h))), out
}

func TestLoggerKeepsLevelsAndValues(t *testing.T) {
	l, out := newLogger()
	l.Log(kgo.LogLevelError, "broken", "err", errors.New("why"))
	l.Log(kgo.LogLevelWarn, "shaky", "after", time.Second)
	l.Log(kgo.LogLevelInfo, "joined", "group", "g")
	l.Log(kgo.LogLevelDebug, "noise")
	assert.Equal(t, []string{
		"level=ERROR msg=broken err=why",
		"level=WARN msg=shaky after=1s",
		"level=DEBUG msg=joined group=g",
	}, out.lines())
	assert.Equal(t, kgo.LogLevelInfo, l.Level())
}

func TestLoggerSaysTheSameOnceInTenSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, out := newLogger()
		for i := range 50 {
			l.Log(kgo.LogLevelWarn, "unable to connect", "addr", "a:1", "err", errors.New(strings.Repeat("x", i)))
			time.Sleep(100 * time.Millisecond)
		}
		l.Log(kgo.LogLevelWarn, "unable to connect", "addr", "b:1")
		l.Log(kgo.LogLevelWarn, "unable to read", "addr", "a:1")
		assert.Len(t, out.lines(), 3, "one about each address and each thing")
		time.Sleep(5 * time.Second)
		l.Log(kgo.LogLevelWarn, "unable to connect", "addr", "a:1")
		again := out.lines()
		assert.Len(t, again, 1)
		assert.Contains(t, again[0], "repeated=49")
	})
}

func TestLoggerForgets(t *testing.T) {
	l, out := newLogger()
	for i := range 5000 {
		l.Log(kgo.LogLevelError, "failed", "partition", i)
	}
	assert.Len(t, out.lines(), 5000)
}
