package behaviour

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tidemarkhq/tidemark/internal/kafkatest"
)

func windowed(t testing.TB, in, out, extra, window string) string {
	return fmt.Sprintf(`
input:
  kafka_checkpointed:
    seed_brokers: $SEEDS
    topics: [ %s ]
    start_from: earliest
    checkpoint: { store: { directory: %q }, job: w }
    %s
  processors:
    - watermark_periodic: { timestamp: this.t, max_out_of_orderness: 2s, idle_timeout: 30s }
buffer:
  event_time_window: %s
output:
  kafka_checkpointed:
    seed_brokers: $SEEDS
    topic: %s
`, in, t.TempDir(), extra, window, out)
}

func TestWindowsOfABoundedRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := kafkatest.Virtual(t)
		in := kafkatest.Topic(t, e, 2)
		out := kafkatest.Topic(t, e, 1)
		type win struct {
			user  int
			start int
		}
		want := map[win][2]int{}
		r := rand.New(rand.NewPCG(1, 2))
		for p := range int32(2) {
			var rs []string
			for i := range 500 {
				at, user := max(i*100-r.IntN(2000), 0), r.IntN(5)*2+int(p)
				rs = append(rs, fmt.Sprintf(`{"t":%d,"u":%d,"v":%d}`, at, user, i))
				w := win{user, at / 10000 * 10000}
				want[w] = [2]int{want[w][0] + 1, want[w][1] + i}
			}
			kafkatest.Produce(t, e, stamped(in, p, rs...)...)
		}
		s := start(t, e, windowed(t, in, out, "stop_at: latest",
			`{ type: tumbling, size: 10s, key: this.u, aggregate: { n: { count: {} }, sum: { sum: this.v } } }`))
		s.ended()
		var got, all []string
		for _, r := range kafkatest.ReadCommitted(t, e, out)[0] {
			got = append(got, fmt.Sprintf("%s %s %d", r.Key, r.Value, r.Timestamp.UnixMilli()))
		}
		for w, v := range want {
			all = append(all, fmt.Sprintf(`%d {"n":%d,"sum":%d} %d`, w.user, v[0], v[1], w.start+9999))
		}
		slices.Sort(got)
		slices.Sort(all)
		require.Equal(t, all, got)
	})
}

func TestOpenWindowsAreKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := kafkatest.Virtual(t)
		in := kafkatest.Topic(t, e, 1)
		out := kafkatest.Topic(t, e, 1)
		yaml := windowed(t, in, out, "", `{ type: tumbling, size: 10s, aggregate: { n: { count: {} } } }`)
		s := start(t, e, yaml)
		kafkatest.Produce(t, e, stamped(in, 0, `{"t":1000}`, `{"t":2000}`)...)
		time.Sleep(3 * time.Second) // virtual
		require.NoError(t, s.stop())
		require.Empty(t, lines(kafkatest.ReadCommitted(t, e, out)[0]), "an open window is not fired early")

		s = start(t, e, yaml)
		kafkatest.Produce(t, e, stamped(in, 0, `{"t":3000}`, `{"t":12000}`)...)
		time.Sleep(3 * time.Second) // virtual
		require.Equal(t, []string{`{"n":3}`}, lines(kafkatest.ReadCommitted(t, e, out)[0]), "and not lost")
		require.NoError(t, s.stop())
		require.Len(t, lines(kafkatest.ReadCommitted(t, e, out)[0]), 1)
	})
}
