package behaviour

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemarkhq/tidemark/internal/kafkatest"
)

// timed is a copy whose records carry, behind their value, what a watermark processor
// said of them.
func timed(in, out, processor string) string {
	yaml := copyYAML(in, out, "g", "start_from: earliest")
	head, tail, _ := strings.Cut(yaml, "output:\n")
	return head + `  processors:
    - ` + processor + `
pipeline:
  processors:
    - mapping: |
        root = content().string() + " " + (@event_time_ms | "-").string() + " " + (@watermark_ms | "-").string() + " " + (@late | "-").string()
output:
` + tail
}

func lines(rs []*kgo.Record) (all []string) {
	for _, r := range rs {
		all = append(all, string(r.Value))
	}
	return all
}

func stamped(topic string, partition int32, values ...string) (rs []*kgo.Record) {
	for _, v := range values {
		rs = append(rs, &kgo.Record{Topic: topic, Partition: partition, Value: []byte(v)})
	}
	return rs
}

func TestWatermarksAreAssigned(t *testing.T) {
	for name, tc := range map[string]struct {
		processor string
		in, want  []string
	}{
		"bounded": {
			"watermark_periodic: { timestamp: this.t, max_out_of_orderness: 2ms }",
			[]string{`{"t":10}`, `{"t":8}`, `{"t":7}`, `{"t":20}`},
			[]string{`{"t":10} 10 8 false`, `{"t":8} 8 8 false`, `{"t":7} 7 8 true`, `{"t":20} 20 18 false`},
		},
		"punctuated": {
			"watermark_punctuated: { timestamp: this.t, watermark: this.w }",
			[]string{`{"t":10}`, `{"t":8,"w":9}`, `{"t":8}`, `{"t":9,"w":null}`},
			[]string{`{"t":10} 10 - false`, `{"t":8,"w":9} 8 9 false`, `{"t":8} 8 9 true`, `{"t":9,"w":null} 9 9 false`},
		},
		"bad": {
			"watermark_periodic: { timestamp: this.t }",
			[]string{`{"t":10}`, `{"t":"soon"}`, `nonsense`},
			[]string{`{"t":10} 10 10 false`, `{"t":"soon"} - - -`, `nonsense - - -`},
		},
		"bad skipped": {
			"watermark_periodic: { timestamp: this.t, on_bad_timestamp: skip }",
			[]string{`{"t":10}`, `{"t":"soon"}`, `{"t":11}`},
			[]string{`{"t":10} 10 10 false`, `{"t":11} 11 11 false`},
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := kafkatest.Virtual(t)
				in, out := topics(t, e, 1)
				kafkatest.Produce(t, e, stamped(in, 0, tc.in...)...)
				s := start(t, e, timed(in, out, tc.processor))
				kafkatest.Eventually(t, patience, "all are there", func() bool {
					return kafkatest.Ends(t, e, out)[0] == int64(len(tc.want))
				})
				require.NoError(t, s.stop())
				require.Equal(t, tc.want, lines(kafkatest.ReadCommitted(t, e, out)[0]))
			})
		})
	}
}

// What was late before a restart is late after it, what was on time stays on time.
func TestWatermarksSurviveARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := kafkatest.Virtual(t)
		in, out := topics(t, e, 1)
		yaml := timed(in, out, "watermark_periodic: { timestamp: this.t }")
		n := int64(0)
		for _, step := range []struct{ in, want string }{
			{`{"t":10}`, `{"t":10} 10 10 false`},
			{`{"t":9}`, `{"t":9} 9 10 true`},
			{`{"t":10}`, `{"t":10} 10 10 false`},
		} {
			s := start(t, e, yaml)
			kafkatest.Produce(t, e, stamped(in, 0, step.in)...)
			n++
			kafkatest.Eventually(t, patience, "it is there", func() bool { return kafkatest.Ends(t, e, out)[0] == n })
			require.NoError(t, s.stop())
			all := lines(kafkatest.ReadCommitted(t, e, out)[0])
			require.Equal(t, step.want, all[n-1])
		}
	})
}

// picky rejects some messages of the first batch, and collects what it takes.
type picky struct {
	mu     sync.Mutex
	reject []int
	took   []string
}

func (*picky) Connect(context.Context) error { return nil }
func (*picky) Close(context.Context) error   { return nil }

func (p *picky) WriteBatch(_ context.Context, batch service.MessageBatch) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	var errs *service.BatchError
	for i, m := range batch {
		if slices.Contains(p.reject, i) {
			if errs == nil {
				errs = service.NewBatchError(batch, errors.New("rejected"))
			}
			errs.Failed(i, errors.New("rejected"))
			continue
		}
		b, _ := m.AsBytes()
		p.took = append(p.took, string(b))
	}
	p.reject = nil
	if errs != nil {
		return errs
	}
	return nil
}

func (p *picky) taken() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.took)
}

// Rejected records come again, and are as late as they were.
func TestWatermarksOfRedeliveries(t *testing.T) {
	for _, order := range []string{"partition", "none"} {
		t.Run(order, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := kafkatest.Virtual(t)
				in, _ := topics(t, e, 1)
				var rs, want []string
				for i := range 20 {
					at, reached, late := i, i, false
					if i == 9 {
						at, reached, late = 3, 8, true
					}
					rs = append(rs, fmt.Sprintf(`{"t":%d}`, at))
					want = append(want, fmt.Sprintf(`{"t":%d} %d %d %v`, at, at, reached, late))
				}
				kafkatest.Produce(t, e, stamped(in, 0, rs...)...)
				env, out := environment(t, e), &picky{reject: []int{7, 12}}
				require.NoError(t, env.RegisterBatchOutput("picky", service.NewConfigSpec(),
					func(*service.ParsedConfig, *service.Resources) (service.BatchOutput, service.BatchPolicy, int, error) {
						return out, service.BatchPolicy{}, 1, nil
					}))
				head, _, _ := strings.Cut(timed(in, "out", "watermark_periodic: { timestamp: this.t }"), "output:\n")
				s := startIn(t, env, e, strings.Replace(head, "start_from: earliest", "start_from: earliest\n    ordering: "+order, 1)+"output: { picky: {} }\n")
				again := append(slices.Clone(want[:7]), append(slices.Clone(want[8:12]), want[13:]...)...)
				if order == "partition" {
					again = append(again, want[7:]...)
				} else {
					again = append(again, want[7], want[12])
				}
				kafkatest.Eventually(t, patience, "all are there", func() bool { return len(out.taken()) >= len(again) })
				require.NoError(t, s.stop())
				require.Equal(t, again, out.taken())
			})
		})
	}
}

// A partition that is ahead waits for one that has more to come, until that is idle.
func TestWhoIsAheadWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := kafkatest.Virtual(t)
		in, out := topics(t, e, 2)
		kafkatest.Produce(t, e, stamped(in, 1, `{"t":0}`)...)
		s := start(t, e, timed(in, out, "watermark_periodic: { timestamp: this.t, max_drift: 10s, idle_timeout: 1m }"))
		seen := func() int64 { return kafkatest.Ends(t, e, out)[0] }
		for i := range 40 {
			kafkatest.Produce(t, e, stamped(in, 0, fmt.Sprintf(`{"t":%d}`, i*1000))...)
			time.Sleep(time.Second) // virtual
		}
		require.GreaterOrEqual(t, seen(), int64(11))
		require.LessOrEqual(t, seen(), int64(13), "a look around may come a little later")
		time.Sleep(40 * time.Second) // virtual
		require.EqualValues(t, 40, seen(), "the other one is idle")

		kafkatest.Produce(t, e, stamped(in, 1, `{"t":35000}`)...)
		time.Sleep(time.Second) // virtual
		kafkatest.Produce(t, e, stamped(in, 0, `{"t":44000}`, `{"t":46000}`)...)
		time.Sleep(2 * time.Second) // virtual
		require.EqualValues(t, 42, seen())
		kafkatest.Produce(t, e, stamped(in, 0, `{"t":47000}`)...)
		time.Sleep(20 * time.Second) // virtual
		require.EqualValues(t, 42, seen(), "it is ahead again, of one that is not idle any more")
		kafkatest.Produce(t, e, stamped(in, 1, `{"t":37000}`)...)
		time.Sleep(2 * time.Second) // virtual
		require.EqualValues(t, 43, seen())
		require.NoError(t, s.stop())
	})
}
