package soak

import (
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Windows of a pipeline that counts records, and adds their amounts up, by key and window of
// event time. What they have to be follows from the numbering: number i of a partition
// happens some milliseconds after i milliseconds, not in order.
type Windows struct {
	numbers *Numbering
	// begin is when event time begins. It is in the past: brokers refuse records that are
	// from the future, as event time would be that runs ahead of the clock.
	begin int64
	// keys finds partition and place of a key.
	keys map[string]place

	mu sync.Mutex
	// next is the window whose result is next, by partition and place of the key, passed
	// the first one of a partition that lacks results.
	next   [][keysPerPartition]int64
	passed []int64
}

type place struct {
	partition int32
	key       int
}

// In milliseconds: how long windows are, by how much records come out of order, and for how
// much of that windows wait.
const (
	windowSize  = 80
	outOfOrder  = 20
	lateAllowed = 30
)

func newWindows(n *Numbering) *Windows {
	begin := time.Now().Add(-24 * time.Hour).UnixMilli()
	w := &Windows{
		numbers: n, begin: begin - begin%windowSize, keys: map[string]place{},
		next: make([][keysPerPartition]int64, n.Partitions()), passed: make([]int64, n.Partitions()),
	}
	for p, keys := range n.keys {
		for k, key := range keys {
			w.keys[string(key)] = place{int32(p), k}
		}
	}
	return w
}

// happened is when number i happens.
func happened(i int64) int64 { return i + outOfOrder - i*7%outOfOrder }

// due is how many windows are over when n records were read.
func due(n int64) int64 {
	latest := int64(0)
	for i := max(n-outOfOrder, 0); i < n; i++ {
		latest = max(latest, happened(i))
	}
	return max(latest-lateAllowed, 0) / windowSize
}

// due is what has to be delivered of so many records of each partition.
func (r *Rig) due(ends []int64) []int64 {
	if r.Windows == nil {
		return ends
	}
	all := make([]int64, len(ends))
	for p, n := range ends {
		all[p] = due(n)
	}
	return all
}

// counted is the result of a window.
type counted struct{ N, Sum int64 }

// want is what the result of a window has to be.
func want(p int32, key int, window int64) (r counted) {
	for i := max(window*windowSize-outOfOrder, 0); i < (window+1)*windowSize; i++ {
		if happened(i)/windowSize == window && int(i%keysPerPartition) == key {
			r.N++
			r.Sum += int64(Amount(p, i))
		}
	}
	return r
}

// processors and buffer are the configuration.
func (w *Windows) processors() string {
	return fmt.Sprintf(`  processors:
    - mapping: |
        let parts = content().string().split("/")
        let i = $parts.index(1).number()
        root = { "key": @kafka_key.string(), "ts": %d + $i + %d - ($i * 7) %% %[2]d, "v": $parts.index(2).number() }
    - watermark_periodic: { timestamp: this.ts, max_out_of_orderness: %dms, idle_timeout: 0s }
`, w.begin, outOfOrder, lateAllowed)
}

func (w *Windows) buffer() string {
	return fmt.Sprintf(`buffer:
  event_time_window:
    type: tumbling
    size: %dms
    key: this.key
    scope: partition
    max_keys_in_memory: %d
    aggregate: { n: { count: {} }, sum: { sum: this.v } }
`, windowSize, keysPerPartition/2)
}

// followWindows tells the audit of results that come into the output topic: of each window
// when those of all its keys are there.
func (r *Rig) followWindows() func(*kgo.Record) {
	return func(rec *kgo.Record) {
		if r.Watch != nil {
			r.Watch(rec.Partition, 0, rec)
		}
		at, window, err := r.Windows.parse(rec)
		if err != nil {
			r.Audit.Violate(Altered, "output %d offset %d: %v", rec.Partition, rec.Offset, err)
			return
		}
		var got counted
		if err := json.Unmarshal(rec.Value, &got); err != nil {
			r.Audit.Violate(Altered, "output %d offset %d: %v", rec.Partition, rec.Offset, err)
		} else if is := want(at.partition, at.key, window); got != is {
			r.Audit.Violate(WrongState, "partition %d: the result of window %d of %q is %v, and should be %v", at.partition, window, rec.Key, got, is)
		}
		r.pass(at, window, rec)
	}
}

// parse tells which result a record is.
func (w *Windows) parse(rec *kgo.Record) (place, int64, error) {
	at, ok := w.keys[string(rec.Key)]
	if !ok || at.partition != rec.Partition {
		return at, 0, fmt.Errorf("the result %q has the key %q, of partition %d", rec.Value, rec.Key, at.partition)
	}
	// A result bears the last moment of its window.
	start := rec.Timestamp.UnixMilli() - (windowSize - 1) - w.begin
	if start < 0 || start%windowSize != 0 {
		return at, 0, fmt.Errorf("the result %q is of %v, and no window begins there", rec.Value, rec.Timestamp)
	}
	return at, start / windowSize, nil
}

// pass notes a result: those of each key come one window after the other.
func (r *Rig) pass(at place, window int64, rec *kgo.Record) {
	w := r.Windows
	w.mu.Lock()
	defer w.mu.Unlock()
	next := &w.next[at.partition][at.key]
	switch {
	case window < *next:
		r.Audit.Violate(Doubled, "partition %d: the result of window %d of %q comes again, after that of %d", at.partition, window, rec.Key, *next-1)
		return
	case window > *next:
		r.Audit.Violate(Disorder, "partition %d: after the result of window %d of %q comes that of %d", at.partition, *next-1, rec.Key, window)
	}
	*next = window + 1
	first := *next
	for _, n := range w.next[at.partition] {
		first = min(first, n)
	}
	for passed := &w.passed[at.partition]; *passed < first; *passed++ {
		r.Audit.Delivered(at.partition, *passed, rec.Offset, rec.Timestamp)
	}
}
