package watermark

import (
	"math"
	"strconv"
	"time"
)

// Time is an event time or a watermark: milliseconds since 1970 UTC, as the timestamps
// of Kafka.
type Time int64

const (
	// None comes before all event times: nothing is known yet.
	None Time = math.MinInt64
	// End comes after all event times: nothing follows, as at the end of a bounded run.
	End Time = math.MaxInt64
)

// Of returns a time in milliseconds, a fraction cut off towards the past.
func Of(t time.Time) Time { return Time(t.UnixMilli()) }

// Add returns the time d later, fractions of a millisecond cut off. None and End stay
// what they are, and nothing overflows into them.
func (t Time) Add(d time.Duration) Time {
	ms := Time(d / time.Millisecond)
	switch {
	case t == None || t == End:
		return t
	case ms > 0 && t > End-1-ms:
		return End - 1
	case ms < 0 && t < None+1-ms:
		return None + 1
	}
	return t + ms
}

// Known tells whether t is an event time: neither None nor End, nor the time in front of
// End, which is where Add stops, so that nothing could be after it.
func (t Time) Known() bool { return t > None && t < End-1 }

// String gives the milliseconds, or none or end.
func (t Time) String() string {
	switch t {
	case None:
		return "none"
	case End:
		return "end"
	}
	return strconv.FormatInt(int64(t), 10)
}
