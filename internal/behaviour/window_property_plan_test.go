package behaviour

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"
)

// windowPlan is a random windowed job and what happens to it. Event times are in
// milliseconds.
type windowPlan struct {
	kind                       string
	size, slide, gap, offset   int64
	lateness, bound            int64
	keyed, process             bool
	mode, metadata             string
	partitions                 []int
	batch, threads, keysAtMost int
	ordering                   string
	idle, interval, drift      time.Duration
	// slow is how long a batch of results takes in the pipeline, linger how long a request
	// of the output takes to its broker, both at most.
	slow, linger time.Duration
	// tardy: some records are late. drop: they are dropped.
	tardy, drop bool
	// crashes: lives end in other ways than in order. moody: batches of results are
	// rejected now and then.
	crashes, moody bool
	// moves: not all topics are read in every life. grows: topics get new partitions,
	// with records that are older than what was read.
	moves, grows bool
}

// What leaves of a window: its messages each by itself, as one array, or aggregates.
const (
	modeSplit      = "split"
	modeArchive    = "archive"
	modeAggregates = "aggregates"
)

func pick[T any](r *rand.Rand, from ...T) T { return from[r.IntN(len(from))] }

func upTo(r *rand.Rand, most time.Duration) time.Duration {
	return time.Duration(r.Int64N(int64(most/time.Millisecond)+1)) * time.Millisecond
}

func newWindowPlan(r *rand.Rand) *windowPlan {
	p := &windowPlan{
		kind: pick(r, "tumbling", "sliding", "session"), mode: pick(r, modeSplit, modeArchive, modeAggregates, modeAggregates),
		keyed: r.IntN(3) > 0, process: r.IntN(2) == 0, bound: pick(r, 0, r.Int64N(2000)),
		batch: 1 + r.IntN(50), threads: pick(r, 1, 4), keysAtMost: r.IntN(4), ordering: pick(r, "partition", "none"),
		idle: pick(r, 0, 10*time.Second+upTo(r, 20*time.Second)), interval: 100*time.Millisecond + upTo(r, 1900*time.Millisecond),
		drift: pick(r, 0, 0, 3*time.Second), slow: upTo(r, 20*time.Millisecond), linger: pick(r, 0, upTo(r, 300*time.Millisecond)),
		crashes: r.IntN(4) > 0, moody: r.IntN(2) == 0,
	}
	for range 1 + r.IntN(2) {
		p.partitions = append(p.partitions, 1+r.IntN(4))
	}
	p.size, p.gap = 200+r.Int64N(3000), 30+r.Int64N(500)
	p.slide = 1 + p.size/int64(1+r.IntN(5))
	p.slide = min(p.slide, p.size)
	p.offset = r.Int64N(2*p.size) - p.size
	switch {
	case r.IntN(2) == 0:
	case p.mode == modeAggregates:
		p.metadata = "none"
	default:
		p.metadata = "late, watermark_ms" // of which results tell
	}
	if r.IntN(4) == 0 {
		p.tardy, p.drop, p.lateness = true, r.IntN(3) == 0, pick(r, 0, r.Int64N(3000))
	}
	if !p.process {
		switch r.IntN(3) {
		case 0:
			p.moves = true
			p.partitions = append(p.partitions, 1+r.IntN(2))
		case 1:
			p.grows = true
		}
	}
	return p
}

func (p *windowPlan) window() string {
	ms := func(n int64) string { return fmt.Sprintf("%dms", n) }
	fields := []string{"type: " + p.kind, "allowed_lateness: " + ms(p.lateness), fmt.Sprintf("max_keys_in_memory: %d", p.keysAtMost)}
	if p.kind == "session" {
		fields = append(fields, "gap: "+ms(p.gap))
	} else {
		fields = append(fields, "size: "+ms(p.size), "offset: "+ms(p.offset))
	}
	if p.kind == "sliding" {
		fields = append(fields, "slide: "+ms(p.slide))
	}
	if p.keyed {
		fields = append(fields, "key: this.u")
	}
	if p.drop {
		fields = append(fields, "late: drop")
	}
	if p.process {
		fields = append(fields, "scope: process")
	} else {
		fields = append(fields, "scope: partition")
	}
	if p.mode == modeAggregates {
		fields = append(fields, everything)
	}
	return "{ " + strings.Join(fields, ", ") + " }"
}

// wrap makes a result of ours say all that is known of it.
const wrap = `    - mapping: |
        root.at = timestamp_unix_milli()
        root.topic = @kafka_topic | ""
        root.partition = @kafka_partition | -1
        root.key = @window_key | ""
        root.start = @window_start_ms | null
        root.end = @window_end_ms | null
        root.again = @window_again | false
        root.late = @late | false
        root.reached = @watermark_ms | null
        root.value = this
`

// source is one input.
func (p *windowPlan) source(topic, directory, look, extra string) string {
	return fmt.Sprintf(`kafka_checkpointed:
  seed_brokers: $SEEDS
  topics: [ %s ]
  start_from: earliest
  discovery_interval: 1s
  ordering: %s
  max_batch_records: %d
  checkpoint:
    store: { directory: %q }
    job: w
    interval: %s
    restart: { initial_backoff: 100ms, max_backoff: 1s }
  %s
processors:
  - watermark_periodic: { timestamp: this.t, max_out_of_orderness: %dms, idle_timeout: %s, max_drift: %s, interval: %s, metadata: [ %s ] }
`, topic, p.ordering, p.batch, directory, p.interval, extra, p.bound, p.idle, p.drift, look, p.metadata)
}

// yaml is the stream of one life, which reads some topics.
func (p *windowPlan) yaml(topics []string, directory, out, look, extra string) string {
	var b strings.Builder
	b.WriteString("input:\n  broker:\n    inputs:\n")
	for _, topic := range topics {
		text := strings.TrimSpace(p.source(topic, directory, look, extra))
		fmt.Fprintf(&b, "      - label: %s\n        %s\n", labelOf(topic), strings.ReplaceAll(text, "\n", "\n        "))
	}
	fmt.Fprintf(&b, "buffer:\n  event_time_window: %s\npipeline:\n  threads: %d\n  processors:\n", p.window(), p.threads)
	if p.mode == modeArchive {
		b.WriteString("    - archive: { format: json_array }\n")
	}
	b.WriteString(wrap + "    - moody: {}\n")
	fmt.Fprintf(&b, `output:
  reject_errored:
    kafka_checkpointed:
      seed_brokers: $SEEDS
      topic: %s
      record_delivery_timeout: 20s
metrics: { gathered: {} }
`, out)
	return b.String()
}

func labelOf(topic string) string {
	return "in_" + strings.ToLower(strings.NewReplacer("-", "_", "#", "_").Replace(topic))
}

// chosen are the topics that are read in a life, at least one.
func (p *windowPlan) chosen(r *rand.Rand, topics []string) (some []string) {
	if !p.moves {
		return topics
	}
	for _, topic := range topics {
		if r.IntN(2) == 0 {
			some = append(some, topic)
		}
	}
	if some == nil {
		return []string{pick(r, topics...)}
	}
	return some
}
