package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"text/template"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// The windowed job: counts and sums per user in tumbling windows of ten seconds, of
// records that are up to two seconds out of order.
const (
	windowUsers    = 1000
	windowSize     = 10_000
	windowDisorder = 2000
	// windowRate is how many records there are in a second of event time.
	windowRate = 20_000
)

// windowSystems are a copy of the topic, which is the limit, and the job, with the
// metadata that it has by default and without.
func windowSystems() []system {
	return []system{
		{"raw", rawLoop, "a poll-and-produce loop of the Kafka client, at its defaults, that copies the same topic", nil},
		{"windows", tidemark, "the job, without metadata", windowJob("[ none ]")},
		{"windows with metadata", tidemark, "the job, with the metadata that messages have by default", windowJob("[]")},
	}
}

func windowJob(metadata string) *template.Template {
	return config(`
input:
  kafka_checkpointed:
    seed_brokers: {{printf "%q" .Seeds}}
    topics: [ "{{.In}}" ]
    start_from: earliest
    stop_at: latest
    checkpoint: { interval: 1s, store: { directory: "{{.Store}}" } }
    metadata: ` + metadata + `
  processors:
    - watermark_periodic: { timestamp: this.ts, max_out_of_orderness: 2s, metadata: ` + metadata + ` }
buffer:
  event_time_window:
    type: tumbling
    size: 10s
    key: this.user
    aggregate: { n: { count: {} }, sum: { sum: this.v } }
output:
  kafka_checkpointed:
    seed_brokers: {{printf "%q" .Seeds}}
    topic: "{{.Out}}"
    compression: {{.Compression}}
`)
}

// windowResults are what the job has to find, by user and start of a window.
type windowResults map[string]map[int64]windowValue

type windowValue struct{ N, Sum int64 }

// fillWindows creates and fills the topic, and computes what the windows have to hold.
func (b *bench) fillWindows(ctx context.Context, topic string, records int) (windowResults, error) {
	if err := b.createTopic(ctx, topic); err != nil {
		return nil, err
	}
	cl, err := kgo.NewClient(append(b.kafka.ClientOptions(), kgo.DefaultProduceTopic(topic),
		kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerBatchCompression(kgo.NoCompression()),
		kgo.MaxBufferedRecords(50_000))...)
	if err != nil {
		return nil, fmt.Errorf("making a producer: %w", err)
	}
	defer cl.Close()
	want := windowResults{}
	rng := rand.New(rand.NewPCG(3, 4))
	failed := make(chan error, 1)
	const begin = 1_790_000_000_000
	for i := range records {
		user, v := rng.IntN(windowUsers), rng.Int64N(1000)
		name := fmt.Sprintf("user-%04d", user)
		ts := begin + int64(i)*1000/windowRate - rng.Int64N(windowDisorder)
		if want[name] == nil {
			want[name] = map[int64]windowValue{}
		}
		w := want[name][ts/windowSize*windowSize]
		want[name][ts/windowSize*windowSize] = windowValue{w.N + 1, w.Sum + v}
		value := fmt.Appendf(nil, `{"user":%q,"ts":%d,"v":%d}`, name, ts, v)
		r := &kgo.Record{Key: []byte(name), Value: value, Partition: int32(user % partitions)}
		cl.Produce(ctx, r, func(_ *kgo.Record, err error) {
			if err != nil {
				select {
				case failed <- err:
				default:
				}
			}
		})
	}
	if err := cl.Flush(ctx); err != nil {
		return nil, fmt.Errorf("filling topic %s: %w", topic, err)
	}
	select {
	case err := <-failed:
		return nil, fmt.Errorf("filling topic %s: %w", topic, err)
	default:
		return want, nil
	}
}

// windowOnce runs the job, or the copy, and returns what it took.
func (b *bench) windowOnce(ctx context.Context, s system, topic string, records int, want windowResults) (run, error) {
	r, err := b.newRoute(ctx, topic)
	if err != nil {
		return run{}, err
	}
	result := run{System: s.name, Load: load{Records: records, ValueBytes: 50}, Busy: loadAverage()}
	c, err := b.start(s, r)
	if err != nil {
		return result, err
	}
	var sp span
	if s.program == rawLoop {
		if sp, err = b.await(ctx, c, r.Out, records); err == nil {
			err = c.stop()
		}
	} else {
		sp, result.Checkpoints, err = b.awaitJob(ctx, c, r)
		if err == nil {
			err = b.checkWindows(ctx, r.Out, want)
		}
	}
	if err != nil {
		c.kill()
		return result, fmt.Errorf("running %s: %w", s.name, err)
	}
	result.Seconds = sp.seconds()
	result.Rate = float64(records) / result.Seconds
	result.CPUSeconds = c.cpu().Seconds()
	result.CPUMicros = result.CPUSeconds * 1e6 / float64(records)
	result.PeakMiB = float64(c.peak) / (1 << 20)
	return result, b.forget(ctx, r)
}

// awaitJob waits until the job has ended by itself. Its time runs from when it was first
// seen to have read anything.
func (b *bench) awaitJob(ctx context.Context, c *child, r route) (sp span, checkpoints float64, err error) {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for begun := time.Now(); ; {
		select {
		case <-c.done:
			sp.add(time.Now())
			if c.err != nil {
				return sp, checkpoints, fmt.Errorf("the job failed: %w; its last words:\n%s", c.err, c.stderr.String())
			}
			return sp, checkpoints, nil
		case <-ctx.Done():
			return sp, checkpoints, ctx.Err()
		case <-tick.C:
		}
		c.sample()
		if n, err := metric(r.HTTP, "tidemark_records_in"); err == nil && n > 0 && sp.first.IsZero() {
			sp.add(time.Now())
		}
		if n, err := metric(r.HTTP, "tidemark_checkpoints_completed"); err == nil {
			checkpoints = n
		}
		if time.Since(begun) > 5*b.stall {
			return sp, checkpoints, errors.New("the job did not end")
		}
	}
}

// checkWindows compares the results with what the windows have to hold: for each user the
// same values, each as often.
func (b *bench) checkWindows(ctx context.Context, topic string, want windowResults) error {
	left := map[string]map[windowValue]int{}
	for user, windows := range want {
		left[user] = map[windowValue]int{}
		for _, v := range windows {
			left[user][v]++
		}
	}
	err := b.readAll(ctx, topic, func(r *kgo.Record) error {
		var v windowValue
		if err := json.Unmarshal(r.Value, &v); err != nil {
			return fmt.Errorf("reading the result %q: %w", r.Value, err)
		}
		user := string(r.Key)
		if left[user][v]--; left[user][v] < 0 {
			return fmt.Errorf("%s: the result %s is wrong, or there once too often", user, r.Value)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for user, values := range left {
		for v, n := range values {
			if n > 0 {
				return fmt.Errorf("%s: the result %+v is missing", user, v)
			}
		}
	}
	return nil
}

// readAll calls f for every record of a topic, as it is now.
func (b *bench) readAll(ctx context.Context, topic string, f func(*kgo.Record) error) error {
	ends, err := b.ends(ctx, topic)
	if err != nil {
		return err
	}
	from, left := map[int32]kgo.Offset{}, 0
	for p, end := range ends {
		if end > 0 {
			from[int32(p)] = kgo.NewOffset().At(0)
			left++
		}
	}
	cl, err := kgo.NewClient(append(b.kafka.ClientOptions(), kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: from}))...)
	if err != nil {
		return fmt.Errorf("making a consumer: %w", err)
	}
	defer cl.Close()
	for left > 0 {
		fetches := cl.PollFetches(ctx)
		if err := errors.Join(ctx.Err(), fetches.Err()); err != nil {
			return fmt.Errorf("reading topic %s: %w", topic, err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			err = errors.Join(err, f(r))
			if r.Offset == ends[r.Partition]-1 {
				left--
			}
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// windowResult is what the windowed job takes.
type windowResult struct {
	Environment environment   `json:"environment"`
	Records     int           `json:"records"`
	Rows        []row         `json:"summary"`
	Goals       []goal        `json:"goals"`
	Runs        []run         `json:"runs"`
	Systems     []systemAbout `json:"systems"`
}

// windows runs the job beside a copy of its topic.
func (b *bench) windows(ctx context.Context, env environment, records, repetitions int) (windowResult, error) {
	result := windowResult{Environment: env, Records: records}
	progress("filling %d records", records)
	const topic = "bench-windows"
	want, err := b.fillWindows(ctx, topic, records)
	if err != nil {
		return result, err
	}
	systems := windowSystems()
	var names []string
	for _, s := range systems {
		names = append(names, s.name)
		result.Systems = append(result.Systems, systemAbout{s.name, s.about})
	}
	for i := range repetitions {
		for j := range systems {
			s := systems[(i+j)%len(systems)]
			r, err := b.windowOnce(ctx, s, topic, records, want)
			if err != nil {
				return result, err
			}
			r.Repetition = i + 1
			progress("%d of %d, %s: %.0f records/s, %.2f µs, %.0f MiB, %g checkpoints", i+1, repetitions, s.name, r.Rate, r.CPUMicros, r.PeakMiB, r.Checkpoints)
			result.Runs = append(result.Runs, r)
		}
	}
	result.Rows = summarise(result.Runs, names)
	raw := 0.0
	for _, w := range result.Rows {
		switch w.System {
		case "raw":
			raw = w.CPUMicros.Median
		case "windows":
			result.Goals = []goal{
				atLeast("records a second of the job, to a raw copy", w.RateToRaw.Median, 0.45),
				atMost("CPU of the job, µs per record, on this machine", w.CPUMicros.Median, 3),
				atMost("the same where a raw copy takes as much as there where the goal comes from", w.CPUMicros.Median*rawThere/raw, 3),
			}
		}
	}
	return result, nil
}

// rawThere is the CPU that a raw copy took per record where the goals come from, in µs. Other
// machines are faster or slower.
const rawThere = 0.7

func (r windowResult) markdown() string {
	var s strings.Builder
	fmt.Fprintf(&s, "# Windows by event time\n\n%s\n", r.Environment.markdown())
	fmt.Fprintf(&s, "%s records {\"user\":…,\"ts\":…,\"v\":…} of %s users in %d partitions: tumbling windows of 10 s, count and sum per user,\n"+
		"up to 2 s out of order, a checkpoint each second, a run to the end of the topic. Each cell: minimum / **median** / maximum.\n"+
		"Every result was compared with the offline computation.\n\n", grouped(fmt.Sprint(r.Records)), grouped(fmt.Sprint(windowUsers)), partitions)
	for _, a := range r.Systems {
		fmt.Fprintf(&s, "- %s: %s\n", a.Name, a.About)
	}
	var rows [][]string
	for _, w := range r.Rows {
		rows = append(rows, []string{w.System, w.Rate.format(0), w.RateToRaw.format(2), w.CPUMicros.format(2), w.PeakMiB.format(0)})
	}
	fmt.Fprintf(&s, "\nLoad average of the machine before the runs: %s.\n\n", busyBefore(r.Runs).format(1))
	s.WriteString(table([]string{"", "records/s", "rate : raw", "CPU µs/record", "peak MiB"}, rows))
	s.WriteString("\n" + goalTable(r.Goals))
	return s.String()
}
