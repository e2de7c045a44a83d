package connection

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// What a component that worked is refused is said once, and again when it is over; at
// the start others say it.
func TestWatchTellsOfRefusalsWhileRunning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWatch(service.MockResources(), nil)
		one, two := kgo.BrokerMetadata{NodeID: 1, Host: "one"}, kgo.BrokerMetadata{NodeID: 2, Host: "two"}
		refuse := func(b kgo.BrokerMetadata, err error) { w.OnBrokerConnect(b, 0, nil, err) }
		refusing := func() int { return len(w.mu.refused) }

		refuse(one, kerr.SaslAuthenticationFailed)
		require.Equal(t, 1, refusing())
		require.True(t, w.mu.said.at.IsZero(), "nothing has worked yet")
		refuse(one, nil)
		require.Zero(t, refusing())

		refuse(one, errors.New("connection refused"))
		require.Zero(t, refusing(), "a broker that is away refuses nobody")
		refuse(one, kerr.SaslAuthenticationFailed)
		refuse(two, kerr.SaslAuthenticationFailed)
		require.Equal(t, 2, refusing())
		require.False(t, w.mu.said.at.IsZero())
		refuse(two, nil)
		require.Equal(t, 1, refusing(), "the other one still does")
		w.works("")
		require.Equal(t, 1, refusing(), "a connection from before says nothing about new ones")
		time.Sleep(refusedFor + time.Second)
		w.works("")
		require.Zero(t, refusing(), "nobody needs that broker any more")
		require.True(t, w.mu.said.at.IsZero(), "the next time is told at once")
	})
}
