package behaviour

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/tidemarkhq/tidemark/internal/kafkatest"
)

// several dials whichever cluster has an address.
type several struct {
	kafkatest.Endpoint
	of []dialer
}

func (s several) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	var errs []error
	for _, d := range s.of {
		conn, err := d.Dial(ctx, network, address)
		if err == nil {
			return conn, nil
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}

// What is read on one cluster is written exactly once on another: positions are in the
// store's topic, beside the results.
func TestExactlyOnceFromOneClusterToAnother(t *testing.T) {
	for name, more := range map[string]string{"static": "assignment: static", "group": "consumer_group: g\n    session_timeout: 10s"} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				from, to := kafkatest.Virtual(t), kafkatest.Virtual(t, kfake.Ports(9192), kfake.ClusterID("other"))
				in, out := kafkatest.Topic(t, from, 3), kafkatest.Topic(t, to, 3)
				yaml := copyYAML(in, out, "", inTopic(kafkatest.Unique(t))+"\n    "+more) + exactly
				head, tail, _ := strings.Cut(yaml, "output:")
				written := int64(0)
				all := func() map[int32][]int64 {
					return map[int32][]int64{0: span(0, written), 1: span(0, written), 2: span(0, written)}
				}
				for round := range 4 {
					p := kafkatest.NewProxy(t, to)
					here := strings.ReplaceAll(head, "$SEEDS", fmt.Sprintf("[%q]", strings.Join(from.Seeds(), ",")))
					there := strings.ReplaceAll(tail, "$SEEDS", fmt.Sprintf("[%q]", strings.Join(p.Seeds(), ",")))
					env := environment(t, several{from, []dialer{from, to}})
					s := startIn(t, env, from, here+"output:"+there)
					kafkatest.Fill(t, from, in, 50)
					written += 50
					awaitNumbers(t, to, out, all())
					if round == 3 {
						require.NoError(t, s.stop())
						break
					}
					written += fillUntilOpen(t, from, in, to, 1)
					p.Down()
					_ = s.stop()
				}
				require.Equal(t, all(), numbers(t, to, out))
				require.Empty(t, openTransactions(t, to))
			})
		})
	}
}
