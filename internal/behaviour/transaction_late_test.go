package behaviour

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tidemarkhq/tidemark/internal/kafkatest"
)

// A claim, or the commit of an epoch that wrote nothing, is no part of a transaction. It
// hangs somewhere between the process and the brokers, and arrives when the same process
// has committed more in the meantime.
func TestExactlyOnceAnOffsetCommitThatArrivesLateTakesNothingBack(t *testing.T) {
	const drops = "pipeline:\n  processors:\n    - mapping: |\n        root = if content().string().has_suffix(\"/0\") { deleted() }\n"
	for name, c := range map[string]struct{ pipeline string }{
		"a claim":                  {},
		"an epoch without results": {pipeline: drops},
	} {
		for instance, more := range map[string]string{"": "", ", member with a name": "\n    instance_id: one"} {
			t.Run(name+instance, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					e := kafkatest.Virtual(t)
					in, out := topics(t, e, 2)
					wentBack := sampled(t, e, in)
					p := kafkatest.NewProxy(t, e)
					const late = time.Minute
					yaml := copyYAML(in, out, "g", "session_timeout: 10s"+more) + patient + c.pipeline
					nth := 1 // The first one is the claim.
					if c.pipeline != "" {
						nth = 2
					}
					p.DelayRequest(late, kmsg.OffsetCommit, nth)
					s := startIn(t, environment(t, e), p, yaml)
					sent := time.Now()
					for range 40 {
						kafkatest.Fill(t, e, in, 1)
						time.Sleep(time.Second) // virtual
					}
					const n = 40
					kafkatest.Until(t, time.Minute, func() error { return covered(e, in, n) })
					require.Less(t, time.Since(sent), late)
					time.Sleep(late) // virtual
					p.Down()         // What is committed is where the next one goes on.
					next := start(t, e, yaml)
					kafkatest.Fill(t, e, in, 1)
					kafkatest.Until(t, time.Minute, func() error { return covered(e, in, n+1) })
					require.NoError(t, next.stop())
					_ = s.stop()
					from := int64(0)
					if c.pipeline != "" {
						from = 1
					}
					require.Equal(t, map[int32][]int64{0: span(from, n+1), 1: span(from, n+1)}, numbers(t, e, out))
					require.Empty(t, wentBack())
				})
			})
		}
	}
}
