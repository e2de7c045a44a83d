package behaviour

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tidemarkhq/tidemark/internal/kafkatest"
)

// Brokers refuse to end a transaction that is open all the same. The stream reads its claims
// again then, which are behind that very transaction, and nobody else would end it.
func TestExactlyOnceARefusedEndIsNotWaitedFor(t *testing.T) {
	for form, more := range map[string]string{
		"group":                     "consumer_group: g\n    session_timeout: 10s",
		"group, store's topic":      "consumer_group: g\n    session_timeout: 10s\n    " + inTopic("refused"),
		"partitions, store's topic": inTopic("refused"),
	} {
		for _, answer := range []*kerr.Error{
			kerr.InvalidTxnState, kerr.InvalidProducerEpoch, kerr.ProducerFenced, kerr.InvalidProducerIDMapping, kerr.UnknownServerError,
		} {
			t.Run(form+"/"+answer.Message, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					e := kafkatest.Virtual(t)
					in, out := topics(t, e, 2)
					s := start(t, e, copyYAML(in, out, "", more)+patient)
					kafkatest.Fill(t, e, in, 50)
					awaitNumbers(t, e, out, both(50))
					refused := e.FailNth(kmsg.EndTxn, 1, answer)
					kafkatest.Fill(t, e, in, 50)
					began := time.Now()
					awaitNumbers(t, e, out, both(100))
					require.Less(t, time.Since(began), 20*time.Second, "transaction_timeout is far longer")
					require.Positive(t, refused.Hits())
					require.NotEmpty(t, s.said("Going back to checkpoint"), "it is loud")
					require.NoError(t, s.stop())
					require.Equal(t, both(100), numbers(t, e, out))
					require.Empty(t, openTransactions(t, e))
				})
			})
		}
	}
}
