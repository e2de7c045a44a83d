package behaviour

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemarkhq/tidemark/internal/kafkatest"
	"github.com/tidemarkhq/tidemark/internal/soak"
)

// roundsWindows is the form of the rounds in which records are counted, and their amounts
// added up, by key and window of event time. Event time is when a record was fed, less some
// disorder: so all partitions are as far, and no result is of the future.
type roundsWindows struct {
	audit *soak.Audit
	// size and disorder are in milliseconds.
	size, disorder int64
	// punctuated: watermarks are in records, in some of them.
	punctuated bool
	// idle is after what time a partition without records holds nobody back; 0 = never, and
	// each of them gets some all the time. Otherwise one gets nothing for a while, now and
	// then, and after that also what happened meanwhile, which may be late, as no other
	// record may.
	idle time.Duration
	// keys is how many a process keeps in memory.
	keys int

	mu sync.Mutex
	// fed is what there has to be, lacks the windows of it that are not in the output.
	fed   map[windowName]windowSum
	lacks map[windowName]bool
	told  *windowsTold
	// tardy are the records that may be late.
	tardy map[windowNumber]bool
	// quiet is when a partition gets nothing, last the last window that it has.
	quiet [roundParts]struct{ from, to time.Time }
	last  [roundParts]int64
}

type windowName struct {
	partition int32
	key       string
	// start is the window's, in milliseconds.
	start int64
}

type windowSum struct{ n, sum int64 }

func (s windowSum) plus(o windowSum) windowSum { return windowSum{s.n + o.n, s.sum + o.sum} }

// windowsTold is what the output says: results, and records that were late for theirs.
type windowsTold struct {
	results, late map[windowName]windowSum
	// lates are the late ones, latest is the last window of each key.
	lates  map[windowNumber]bool
	latest map[string]int64
}

type windowNumber struct {
	partition int32
	number    int64
}

func newWindowsTold() *windowsTold {
	return &windowsTold{map[windowName]windowSum{}, map[windowName]windowSum{}, map[windowNumber]bool{}, map[string]int64{}}
}

func newRoundsWindows(r *rand.Rand, a *soak.Audit) *roundsWindows {
	w := &roundsWindows{
		audit: a, size: 300 + r.Int64N(1700), disorder: r.Int64N(800), punctuated: r.IntN(2) == 0, keys: r.IntN(6),
		fed: map[windowName]windowSum{}, lacks: map[windowName]bool{}, tardy: map[windowNumber]bool{}, told: newWindowsTold(),
	}
	if r.IntN(2) == 0 {
		w.idle = time.Second + time.Duration(r.Int64N(int64(3*time.Second)))
	}
	return w
}

// yaml goes between the input and the output.
func (w *roundsWindows) yaml() string {
	marks := fmt.Sprintf("watermark_periodic: { timestamp: this.t, max_out_of_orderness: %dms", w.disorder)
	if w.punctuated {
		marks = "watermark_punctuated: { timestamp: this.t, watermark: this.w"
	}
	return fmt.Sprintf(`  processors:
    - %s, idle_timeout: %s }
buffer:
  event_time_window:
    type: tumbling
    size: %dms
    key: this.k
    max_keys_in_memory: %d
    aggregate: { n: { count: {} }, sum: { sum: this.v } }
`, marks, w.idle, w.size, w.keys)
}

// some is how many records a partition gets now.
func (w *roundsWindows) some(r *rand.Rand, p int32) int {
	now, quiet := time.Now(), &w.quiet[p]
	if w.idle > 0 && now.After(quiet.to) && r.IntN(60) == 0 {
		quiet.from, quiet.to = now, now.Add(time.Duration(r.Int64N(int64(4*w.idle))))
	}
	if now.Before(quiet.to) {
		return 0
	}
	return 1 + r.IntN(5)
}

// happened is when a record has happened that is fed now.
func (w *roundsWindows) happened(r *rand.Rand, p int32, now time.Time) int64 {
	from := now.Add(-time.Duration(w.disorder) * time.Millisecond)
	if quiet := w.quiet[p]; now.Sub(quiet.to) < caughtUp && r.IntN(2) == 0 {
		from = quiet.from
	}
	return now.UnixMilli() - r.Int64N(now.UnixMilli()-from.UnixMilli()+1)
}

// caughtUp is how long after it was quiet a partition gets what happened meanwhile.
const caughtUp = time.Second

// windowRecord is what is fed. W is the watermark that it carries, if it does.
type windowRecord struct {
	K       string
	I, T, V int64
	W       *int64
}

func (r *windowRecord) json() []byte {
	b, _ := json.Marshal(map[string]any{"k": r.K, "i": r.I, "t": r.T, "v": r.V, "w": r.W})
	return b
}

// record makes a record that is fed now, and notes it before anybody can read it.
func (w *roundsWindows) record(r *rand.Rand, p int32, n int64) (key, value []byte) {
	now := time.Now()
	rec := windowRecord{K: fmt.Sprintf("%d-%d", p, r.IntN(10)), I: n, T: w.happened(r, p, now), V: int64(soak.Amount(p, n))}
	if r.IntN(3) > 0 {
		mark := now.UnixMilli() - w.disorder
		rec.W = &mark
	}
	name := windowName{p, rec.K, rec.T - rec.T%w.size}
	w.mu.Lock()
	defer w.mu.Unlock()
	if rec.T < now.UnixMilli()-w.disorder {
		w.tardy[windowNumber{p, n}] = true
	}
	w.fed[name] = w.fed[name].plus(windowSum{1, rec.V})
	w.lacks[name] = true
	w.last[p] = max(w.last[p], name.start)
	return []byte(rec.K), rec.json()
}

// theEnd is the key of the record that closes all other windows.
const theEnd = "end"

// close ends event time, when no more is fed.
func (w *roundsWindows) close(t testing.TB, e kafkatest.Endpoint, topic string) {
	t.Helper()
	var rs []*kgo.Record
	at := time.Now().Add(time.Minute).UnixMilli()
	for p := range int32(roundParts) {
		end := windowRecord{K: theEnd, I: -1, T: at, W: &at}
		rs = append(rs, &kgo.Record{Topic: topic, Partition: p, Value: end.json()})
	}
	kafkatest.Produce(t, e, rs...)
}

// latest is the last window of each partition that has records by now.
func (w *roundsWindows) latest() [roundParts]int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.last
}

// lacking are the windows, up to some, that are not in the output as they should be.
func (w *roundsWindows) lacking(to [roundParts]int64) (names []windowName) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for name := range w.lacks {
		if name.start <= to[name.partition] {
			names = append(names, name)
		}
	}
	return names
}

// take is told what a reader of committed records sees.
func (w *roundsWindows) take(r *kgo.Record) {
	w.mu.Lock()
	defer w.mu.Unlock()
	name, ok := w.tell(w.told, r)
	if ok && w.told.results[name].plus(w.told.late[name]) == w.fed[name] {
		delete(w.lacks, name)
	}
}

// tell notes what a record of the output says, and judges it.
func (w *roundsWindows) tell(told *windowsTold, r *kgo.Record) (name windowName, ok bool) {
	var got struct {
		N, Sum, I *int64
		T, V      int64
	}
	err := json.Unmarshal(r.Value, &got)
	name = windowName{r.Partition, string(r.Key), r.Timestamp.UnixMilli() - (w.size - 1)}
	late := got.I != nil
	if late {
		name.start = got.T - got.T%w.size
	}
	want, fed := w.fed[name]
	switch {
	case err != nil || !fed || !late && (got.N == nil || got.Sum == nil):
		w.audit.Violate(soak.Altered, "partition %d has %s with key %s, of %v", r.Partition, r.Value, r.Key, r.Timestamp)
		return name, false
	case late:
		w.tellLate(told, name, *got.I, got.V)
		return name, true
	}
	is := windowSum{*got.N, *got.Sum}
	if before, again := told.results[name]; again {
		w.audit.Violate(soak.Doubled, "%v: after %v comes %v", name, before, is)
		return name, false
	}
	if last, ok := told.latest[name.key]; ok && last > name.start {
		w.audit.Violate(soak.Disorder, "%v comes after the result of %d", name, last)
	}
	if w.idle == 0 && is != want {
		w.audit.Violate(soak.WrongState, "%v is %v, and should be %v", name, is, want)
	}
	told.results[name], told.latest[name.key] = is, name.start
	return name, true
}

// tellLate notes a record that was late for its window. It is missing there.
func (w *roundsWindows) tellLate(told *windowsTold, name windowName, number, amount int64) {
	id := windowNumber{name.partition, number}
	switch {
	case !w.tardy[id]:
		w.audit.Violate(soak.WrongState, "%v: record %d was late", name, number)
	case amount != int64(soak.Amount(name.partition, number)):
		w.audit.Violate(soak.Altered, "%v: record %d has come with %d", name, number, amount)
	case told.lates[id]:
		w.audit.Violate(soak.Doubled, "%v: record %d was late twice", name, number)
	}
	told.lates[id] = true
	told.late[name] = told.late[name].plus(windowSum{1, amount})
}

// String says how it is, and how much came of it.
func (w *roundsWindows) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return fmt.Sprintf("windows of %dms, disorder %dms, idle after %v, punctuated %v, %d keys in memory: %d results, %d late records",
		w.size, w.disorder, w.idle, w.punctuated, w.keys, len(w.told.results), len(w.told.lates))
}

// compare judges all that the output holds in the end, read again.
func (w *roundsWindows) compare(output [][]*kgo.Record) {
	w.mu.Lock()
	defer w.mu.Unlock()
	again := newWindowsTold()
	for _, r := range slices.Concat(output...) {
		w.tell(again, r)
	}
	if !maps.Equal(again.results, w.told.results) || !maps.Equal(again.late, w.told.late) {
		w.audit.Violate(soak.Altered, "read again, it is another")
	}
	for name, want := range w.fed {
		if is := again.results[name].plus(again.late[name]); is != want {
			w.audit.Violate(soak.WrongState, "%v is %v, and should be %v", name, is, want)
		}
	}
}
