package soak_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemarkhq/tidemark/internal/kafkatest"
	"github.com/tidemarkhq/tidemark/internal/soak"
)

// job is a stateful pipeline that is fed, killed again and again, and judged at the end.
type job struct {
	t       *testing.T
	plan    *soak.Plan
	v       *soak.Verdict
	audit   *soak.Audit
	broker  kafkatest.Endpoint
	in, out string
	store   string
	client  *kgo.Client
	// failed is an error of producing; capacity 1, one is enough.
	failed chan error
	fed    int
}

const jobPartitions = 4

func newJob(t *testing.T, harness string, share float64) *job {
	p, v := soak.Begin(t, harness, share)
	j := &job{
		t: t, plan: p, v: v, audit: soak.NewAudit(1), broker: kafkatest.Real(t, kafkatest.Newest),
		store: filepath.Join(t.TempDir(), "store"), failed: make(chan error, 1),
	}
	base := kafkatest.Unique(t)
	j.in, j.out = base+"-in", base+"-out"
	kafkatest.CreateTopic(t, j.broker, j.in, jobPartitions)
	kafkatest.CreateTopic(t, j.broker, j.out, jobPartitions)
	j.client = kafkatest.Client(t, j.broker, kgo.RecordPartitioner(kgo.ManualPartitioner()))
	soak.Tidemark(t)
	p.Restart()
	return j
}

func (j *job) produce(p int32, key, value string) {
	j.fed++
	j.client.Produce(j.t.Context(), &kgo.Record{Topic: j.in, Partition: p, Key: []byte(key), Value: []byte(value)}, func(_ *kgo.Record, err error) {
		if err != nil {
			select {
			case j.failed <- err:
			default:
			}
		}
	})
}

func (j *job) flush() {
	j.t.Helper()
	if err := j.client.Flush(j.t.Context()); err != nil {
		j.t.Fatal(err)
	}
	select {
	case err := <-j.failed:
		j.t.Fatal(err)
	default:
	}
}

// yaml is the configuration up to the pipeline; extra are more lines of the input.
func (j *job) yaml(extra, rest string) string {
	return fmt.Sprintf(`
http: { enabled: false }
shutdown_timeout: 30s
logger: { level: DEBUG, add_timestamp: true }
input:
  kafka_checkpointed:
    seed_brokers: [ %[1]q ]
    topics: [ %[2]q ]
    start_from: earliest
    checkpoint: { interval: 300ms, store: { directory: %[3]q }, job: soak }
%[4]s%[5]soutput:
  kafka_checkpointed:
    seed_brokers: [ %[1]q ]
    topic: %[6]q
`, j.broker.Seeds()[0], j.in, j.store, extra, rest, j.out)
}

// play feeds the job and kills it at random, round after round, and at last lets it run to
// the end of the topic.
func (j *job) play(feed func(), rest string) {
	r := j.plan.Random
	for j.plan.More() {
		c := soak.Run(j.t, fmt.Sprintf("life-%d", j.v.Rounds), j.yaml("", rest))
		until := time.Now().Add(within(r, 500*time.Millisecond, 2500*time.Millisecond))
		for time.Now().Before(until) {
			feed()
			j.flush()
			time.Sleep(20 * time.Millisecond)
		}
		if err := c.Kill9(); err != nil {
			j.audit.Violate(soak.Unhealthy, "%v", err)
			return
		}
		j.v.Rounds++
		j.v.Kills++
		j.v.Counted++
		j.t.Logf("round %d: %d records fed", j.v.Rounds, j.fed)
	}
	begun := time.Now()
	c := soak.Run(j.t, "last", j.yaml("    stop_at: latest\n", rest))
	code, err := c.Wait(5 * time.Minute)
	j.t.Logf("the last run took %v", time.Since(begun))
	if err != nil || code != 0 {
		j.audit.Violate(soak.Unhealthy, "the last run ended with code %d: %v", code, err)
	}
}

func (j *job) output() (all []*kgo.Record) {
	for _, rs := range kafkatest.ReadCommitted(j.t, j.broker, j.out) {
		all = append(all, rs...)
	}
	return all
}

func (j *job) conclude(extra map[string]any) {
	j.v.Extra = extra
	j.v.Conclude(j.t, j.audit)
}

type userWindow struct {
	user  string
	start int64
}

// A windowed job that is killed at random: after exact repeats are removed its results are
// those of the offline computation, and each window has one result only.
func TestWindowsOfAKilledJob(t *testing.T) {
	j := newJob(t, "windows", 0.5)
	want := map[userWindow][2]int64{}
	ts := [jobPartitions]int64{}
	// Results bear event times. The broker deletes what is too old, and refuses what is
	// more than an hour ahead; event time runs some 75 times as fast as the clock.
	now := time.Now().Add(-24 * time.Hour).UnixMilli()
	begin := now - now%5000
	j.play(func() {
		for p := range ts {
			// One is slow now and then, and one far ahead: the slowest counts.
			for range j.plan.Random.IntN(200) {
				ts[p] += j.plan.Random.Int64N(30)
				at := begin + max(ts[p]-j.plan.Random.Int64N(2000), 0)
				user, v := fmt.Sprintf("u%d", j.plan.Random.IntN(300)), j.plan.Random.Int64N(1000)
				w := userWindow{user, at / 5000 * 5000}
				want[w] = [2]int64{want[w][0] + 1, want[w][1] + v}
				j.produce(int32(p), user, fmt.Sprintf(`{"user":%q,"ts":%d,"v":%d}`, user, at, v))
			}
		}
	}, `  processors:
    - watermark_periodic: { timestamp: this.ts, max_out_of_orderness: 2s }
buffer:
  event_time_window:
    type: tumbling
    size: 5s
    key: this.user
    max_keys_in_memory: 100
    aggregate: { n: { count: {} }, sum: { sum: this.v } }
`)
	repeats := 0
	got := map[userWindow][2]int64{}
	for _, r := range j.output() {
		var v struct{ N, Sum int64 }
		if err := json.Unmarshal(r.Value, &v); err != nil {
			j.audit.Violate(soak.Altered, "%q: %v", r.Value, err)
			continue
		}
		w := userWindow{string(r.Key), r.Timestamp.UnixMilli() - 4999}
		now := [2]int64{v.N, v.Sum}
		if was, ok := got[w]; ok {
			repeats++
			if was != now {
				j.audit.Violate(soak.WrongState, "%v: the results %v and %v", w, was, now)
			}
		}
		got[w] = now
	}
	for w, v := range want {
		if is, ok := got[w]; !ok {
			j.audit.Violate(soak.Lost, "%v: there is no result, and it should be %v", w, v)
		} else if is != v {
			j.audit.Violate(soak.WrongState, "%v: the result is %v, and should be %v", w, is, v)
		}
	}
	for w := range got {
		if _, ok := want[w]; !ok {
			j.audit.Violate(soak.Altered, "%v: there is no such window", w)
		}
	}
	j.v.Repeats = int64(repeats)
	j.conclude(map[string]any{"records_fed": j.fed, "windows": len(want), "repeated_results": repeats})
}

// A job that drops what it has seen, killed at random: every value comes out, and of each
// only the first record of it.
func TestDedupeOfAKilledJob(t *testing.T) {
	j := newJob(t, "dedupe", 0.5)
	r := j.plan.Random
	var fresh [jobPartitions]int
	first := map[string]int64{}
	var offsets [jobPartitions]int64
	produce := func(p, n int) {
		value := fmt.Sprintf("%d-%d", p, n)
		if _, seen := first[value]; !seen {
			first[value] = offsets[p]
		}
		offsets[p]++
		j.produce(int32(p), value, value)
	}
	j.play(func() {
		for p := range fresh {
			for range 50 {
				switch {
				case fresh[p] > 0 && r.IntN(3) == 0:
					produce(p, older(r, fresh[p]))
				default:
					produce(p, fresh[p])
					fresh[p]++
				}
			}
		}
	}, `pipeline:
  threads: 2
  processors:
    - dedupe: { cache: seen, key: '${! content() }' }
    - mapping: root = content().string() + " " + @kafka_offset.string()
cache_resources:
  - label: seen
    checkpointed: { default_ttl: 1h }
`)
	repeats := 0
	got := map[string]int{}
	for _, rec := range j.output() {
		var value string
		var offset int64
		if _, err := fmt.Sscan(string(rec.Value), &value, &offset); err != nil {
			j.audit.Violate(soak.Altered, "%q: %v", rec.Value, err)
			continue
		}
		if want, ok := first[value]; !ok || want != offset {
			j.audit.Violate(soak.WrongState, "%s: the record at offset %d passed, and the first one is at %d", value, offset, want)
		}
		if got[value]++; got[value] > 1 {
			repeats++
		}
	}
	var lost []string
	for value := range first {
		if got[value] == 0 {
			lost = append(lost, value)
		}
	}
	slices.Sort(lost)
	for _, value := range lost {
		j.audit.Violate(soak.Lost, "%s never came out", value)
	}
	j.v.Repeats = int64(repeats)
	j.conclude(map[string]any{"records_fed": j.fed, "values": len(first), "passed_again_after_a_crash": repeats})
}

// older picks a number that was used before, mostly one of the last.
func older(r *rand.Rand, n int) int {
	if r.IntN(2) == 0 {
		return r.IntN(n)
	}
	return max(n-1-r.IntN(500), 0)
}
