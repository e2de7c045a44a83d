package connection

import (
	"fmt"
	"sync"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/twmb/franz-go/pkg/kgo"
)

// repeatInterval is how often one warning about one broker or partition is
// logged. A client tries again several times a second while a broker is away.
const repeatInterval = 10 * time.Second

// maxRepeats bounds what the logger remembers; beyond it, it forgets everything,
// which at worst logs a warning once more.
const maxRepeats = 1000

// Logger hands what the Kafka client reports to a Benthos logger. Errors and
// warnings keep their level, what the client calls information is debugging to a
// user of the stream. The same warning about the same subject is logged once in
// ten seconds, with the number of those that were left out.
type Logger struct {
	to *service.Logger

	mu struct {
		sync.Mutex
		seen map[string]*repeat
	}
}

type repeat struct {
	last    time.Time
	skipped int
}

// NewLogger returns a client's logger that writes to l.
func NewLogger(l *service.Logger) *Logger {
	logger := &Logger{to: l}
	logger.mu.seen = make(map[string]*repeat)
	return logger
}

// Level implements kgo.Logger. The client's debug messages are about its own
// inner workings, and building them costs something for every fetch.
func (l *Logger) Level() kgo.LogLevel { return kgo.LogLevelInfo }

// Log implements kgo.Logger.
func (l *Logger) Log(level kgo.LogLevel, msg string, keyvals ...any) {
	if level > kgo.LogLevelWarn {
		if level == kgo.LogLevelInfo {
			l.to.With(text(keyvals)...).Debug(msg)
		}
		return
	}
	skipped, ok := l.pass(subject(msg, keyvals), time.Now())
	if !ok {
		return
	}
	if skipped > 0 {
		keyvals = append(keyvals[:len(keyvals):len(keyvals)], "repeated", skipped)
	}
	to := l.to.With(text(keyvals)...)
	if level == kgo.LogLevelError {
		to.Error(msg)
		return
	}
	to.Warn(msg)
}

// pass tells whether to log about key now, and how many were left out since the
// last time.
func (l *Logger) pass(key string, now time.Time) (skipped int, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	r := l.mu.seen[key]
	switch {
	case r == nil:
		if len(l.mu.seen) >= maxRepeats {
			clear(l.mu.seen)
		}
		l.mu.seen[key] = &repeat{last: now}
		return 0, true
	case now.Sub(r.last) < repeatInterval:
		r.skipped++
		return 0, false
	}
	skipped, r.last, r.skipped = r.skipped, now, 0
	return skipped, true
}

// subject is the message and what it is about. The other values, such as an
// error text with a local port in it, differ each time.
func subject(msg string, keyvals []any) string {
	key := msg
	for i := 0; i+1 < len(keyvals); i += 2 {
		switch keyvals[i] {
		case "addr", "broker", "topic", "partition", "group":
			key += fmt.Sprintf("|%v", keyvals[i+1])
		}
	}
	return key
}

// text makes strings of values that a JSON logger would print as {} or as numbers
// without a unit.
func text(keyvals []any) []any {
	out := make([]any, len(keyvals))
	for i, v := range keyvals {
		switch v.(type) {
		case error, fmt.Stringer:
			v = fmt.Sprint(v)
		}
		out[i] = v
	}
	return out
}
