package processor

import (
	"context"
	"encoding/json"
	"math"
	"testing"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemarkhq/tidemark/checkpoint"
	"github.com/tidemarkhq/tidemark/watermark"
)

func TestEventTime(t *testing.T) {
	at := time.Date(2026, 7, 1, 12, 0, 0, 123_999_999, time.FixedZone("", 2*3600))
	const ms = 1_782_900_000_123
	for name, test := range map[string]struct {
		value any
		want  watermark.Time
		// err is part of the error; empty = there is none.
		err string
	}{
		"timestamp":              {at, ms, ""},
		"before 1970":            {time.UnixMilli(-1), -1, ""},
		"a fraction before 1970": {time.Unix(0, -1), -1, ""},
		"milliseconds":           {int64(ms), ms, ""},
		"zero":                   {int64(0), 0, ""},
		"negative":               {int64(-5), -5, ""},
		"the last":               {int64(math.MaxInt64 - 2), math.MaxInt64 - 2, ""},
		"nothing could follow":   {int64(math.MaxInt64 - 1), 0, "9223372036854775806 is out of the range of event times"},
		"the first":              {int64(math.MinInt64 + 1), math.MinInt64 + 1, ""},
		"end":                    {int64(math.MaxInt64), 0, "9223372036854775807 is out of the range of event times"},
		"none":                   {int64(math.MinInt64), 0, "-9223372036854775808 is out of the range"},
		"fraction":               {10.999, 10, ""},
		"negative fraction":      {-0.5, -1, ""},
		"large float":            {1e15, 1e15, ""},
		"NaN":                    {math.NaN(), 0, "NaN is no number of milliseconds"},
		"infinite":               {math.Inf(1), 0, "+Inf is no number of milliseconds"},
		"infinite before":        {math.Inf(-1), 0, "-Inf is no number of milliseconds"},
		"float too large":        {9223372036854775808.0, 0, "is no number of milliseconds"},
		"float too small":        {-9.3e18, 0, "is no number of milliseconds"},
		"least float":            {-9223372036854775808.0, 0, "is out of the range"},
		"number of no type":      {json.Number("1e400"), 0, "1e400 is no number of milliseconds"},
		"RFC 3339":               {"2026-07-01T10:00:00Z", ms - 123, ""},
		"RFC 3339 with zone":     {"2026-07-01T12:00:00.123+02:00", ms, ""},
		"RFC 3339 with nanos":    {"2026-07-01T10:00:00.123999999Z", ms, ""},
		"without zone":           {"2026-07-01T10:00:00", 0, "no timestamp as RFC 3339"},
		"date":                   {"2026-07-01", 0, "use ts_parse or ts_strptime for other forms"},
		"number as text":         {"1782900000123", 0, "number() for milliseconds in a string"},
		"text":                   {"soon", 0, `"soon" is no timestamp`},
		"empty text":             {"", 0, `"" is no timestamp`},
		"nothing":                {nil, 0, "there is no timestamp"},
		"truth":                  {true, 0, "got bool"},
		"list":                   {[]any{int64(1)}, 0, "got []interface {}"},
		"object":                 {map[string]any{}, 0, "got map[string]interface {}"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := eventTime(test.value)
			if test.err != "" {
				require.ErrorContains(t, err, test.err)
				require.Equal(t, watermark.None, got)
				return
			}
			require.NoError(t, err)
			require.Equal(t, test.want, got)
		})
	}
	_, err := eventTime(nil)
	require.ErrorIs(t, err, errNoTimestamp, "it is told from a value that is none")
}

func TestKafkaTimestamp(t *testing.T) {
	record := func(at time.Time) *service.Message {
		o := &checkpoint.Origin{Context: context.Background(), Entry: entry(checkpoint.Partition{}), Record: &kgo.Record{Timestamp: at}}
		m := service.NewMessageWithContext(o, nil)
		m.MetaSetMut("kafka_timestamp_ms", int64(99)) // metadata may have been altered
		return m
	}
	with := func(v any) *service.Message {
		m := service.NewMessage(nil)
		m.MetaSetMut("kafka_timestamp_ms", v)
		return m
	}
	for name, test := range map[string]struct {
		m    *service.Message
		want watermark.Time
	}{
		"record":                    {record(time.UnixMilli(1234)), 1234},
		"record of 1970":            {record(time.UnixMilli(0)), 0},
		"record without":            {record(time.UnixMilli(-1)), watermark.None},
		"record of an old format":   {record(time.Time{}), watermark.None},
		"int64":                     {with(int64(1234)), 1234},
		"int":                       {with(1234), 1234},
		"int32":                     {with(int32(1234)), 1234},
		"float":                     {with(1234.0), 1234},
		"digits":                    {with("1234"), 1234},
		"RFC 3339":                  {with("1970-01-01T00:00:01.234Z"), 1234},
		"-1":                        {with(-1), watermark.None},
		"-1 as text":                {with("-1"), watermark.None},
		"text":                      {with("soon"), watermark.None},
		"truth":                     {with(true), watermark.None},
		"neither record nor number": {service.NewMessage(nil), watermark.None},
	} {
		t.Run(name, func(t *testing.T) { require.Equal(t, test.want, kafkaTimestamp(test.m)) })
	}
	source := service.NewMessageWithContext(&checkpoint.Origin{Context: context.Background(), Entry: entry(checkpoint.Partition{})}, nil)
	source.MetaSetMut("kafka_timestamp_ms", 5)
	require.Equal(t, watermark.Time(5), kafkaTimestamp(source), "of a source whose records are not of Kafka")
}

// What is likely in another unit than milliseconds. What was computed into a timestamp
// has had its unit named.
func TestOdd(t *testing.T) {
	for ms, want := range map[int64]bool{
		0: false, 5: false, -5: false, 1e8: false, 1e8 + 1: true, // counters of tests are no mistake
		1_782_900_000: true, 1e11 - 1: true, 1e11: false,
		1_782_900_000_123: false, 1e14: false,
		1e14 + 1: true, 1_782_900_000_123_456: true, 1_782_900_000_123_456_789: true,
		-1_782_900_000: false, // that was in 1913, in seconds, or in 1969
	} {
		require.Equal(t, want, odd(ms, watermark.Time(ms)), ms)
		require.Equal(t, want, odd(float64(ms), watermark.Time(ms)), ms)
	}
	require.False(t, odd(time.UnixMilli(1_782_900_000), 1_782_900_000))
	require.False(t, odd("1970-01-21T15:15:00Z", 1_782_900_000))
}

// entry puts a batch into a ledger of its own.
func entry(p checkpoint.Partition) *checkpoint.Entry {
	return checkpoint.NewLedger(nil, false).Enter("in", p)
}
