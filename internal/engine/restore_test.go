package engine_test

import (
	"fmt"
	"math"
	"os"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tidemarkhq/tidemark/internal/kafkatest"
)

var retained = regexp.MustCompile(`there are: ([0-9 ]+)`)

// Each of five retained checkpoints brings back its positions, and the state that
// belongs to them: a count of all that is below.
func TestRestoreFromAnyOfFive(t *testing.T) {
	const partitions = 3
	synctest.Test(t, func(t *testing.T) {
		e := kafkatest.Virtual(t)
		in, dir := kafkatest.Topic(t, e, partitions), t.TempDir()
		yaml := func(dir, out, extra string) string {
			return fmt.Sprintf(`
input:
  kafka_checkpointed:
    seed_brokers: [ %q ]
    topics: [ %s ]
    assignment: static
    start_from: earliest
    checkpoint: { interval: 1h, job: j, retain: 5, store: { directory: %q }%s }
pipeline: { processors: [ { counter: {} } ] }
output:
  kafka_checkpointed:
    seed_brokers: [ %q ]
    topic: %s
`, e.Seeds()[0], in, dir, extra, e.Seeds()[0], out)
		}
		total := func(topic string) (n int) {
			for _, end := range kafkatest.Ends(t, e, topic) {
				n += int(end)
			}
			return n
		}
		out, all := kafkatest.Topic(t, e, partitions), 0
		var below []int // of each partition at each checkpoint
		for round := range 5 {
			n := 10 + round
			all += n
			below = append(below, all)
			kafkatest.Fill(t, e, in, n)
			s := run(t, e, yaml(dir, out, ""))
			kafkatest.Eventually(t, 10*time.Second, "all are written", func() bool { return total(out) == partitions*all })
			s.stop(t)
		}

		s := run(t, e, yaml(dir, out, ", restore_from: 999"))
		<-s.ended
		there := retained.FindStringSubmatch(s.logs.String())
		require.NotNil(t, there, s.logs)
		ids := strings.Fields(there[1])
		require.Len(t, ids, 5)

		for i, id := range ids {
			// A copy, because a restored checkpoint becomes the last one.
			copied := t.TempDir()
			require.NoError(t, os.CopyFS(copied, os.DirFS(dir)))
			again := kafkatest.Topic(t, e, partitions)
			const notYet = math.MaxUint64
			counted.Store(notYet)
			s := run(t, e, yaml(copied, again, ", restore_from: "+id))
			missing := all - below[i]
			kafkatest.Eventually(t, 10*time.Second, "what came after is written", func() bool {
				return counted.Load() != notYet && total(again) >= partitions*missing
			})
			require.Equal(t, uint64(partitions*below[i]), counted.Load(), "state of checkpoint %s", id)
			s.stop(t)
			first := map[int32]int64{}
			require.Equal(t, partitions*missing, total(again), "and nothing else")
			for _, rs := range kafkatest.ReadCommitted(t, e, again) {
				for _, r := range rs {
					p, n := kafkatest.Number(t, r)
					if at, ok := first[p]; !ok || n < at {
						first[p] = n
					}
				}
			}
			for p, n := range first {
				require.Equal(t, int64(below[i]), n, "position of partition %d in checkpoint %s", p, id)
			}
		}
	})
}
