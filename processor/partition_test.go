package processor

import (
	"context"
	"fmt"
	"testing"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/require"

	"github.com/tidemarkhq/tidemark/checkpoint"
)

// lane delivers records of one partition to a processor, as a source does: with an entry
// for each batch that knows what the acknowledged records have led to.
type lane struct {
	t      *testing.T
	a      *assigner
	ledger *checkpoint.Ledger
	id     checkpoint.Partition
	// times are the event times of all records, by offset; a negative one is none.
	times []int
	// number is that of the source's assignment.
	number int
	// more are those of further messages that a processor in front made of each record.
	more []int
}

func newLane(t *testing.T, yaml string, times ...int) *lane {
	t.Helper()
	conf, err := read(t, NamePeriodic, yaml)
	require.NoError(t, err)
	a, err := newAssigner(conf, service.MockResources())
	require.NoError(t, err)
	return &lane{t: t, a: a, ledger: checkpoint.NewLedger(nil, false), id: checkpoint.Partition{Topic: "t"}, times: times}
}

// deliver delivers records, and returns which of them are late, and what the batch has
// led to.
func (l *lane) deliver(reached checkpoint.Watermark, offsets ...int) (late []int, led checkpoint.Watermark) {
	l.t.Helper()
	e := l.ledger.Enter("in", l.id)
	e.Lane = l.number
	e.Advance(reached)
	var batch service.MessageBatch
	for _, at := range offsets {
		o := &checkpoint.Origin{Context: context.Background(), Entry: e, Offset: checkpoint.Offset(at)}
		for _, at := range append([]int{l.times[at]}, l.more...) {
			m := service.NewMessageWithContext(o, fmt.Appendf(nil, `{"t":%d}`, at))
			if at < 0 {
				m.SetBytes([]byte(`{}`))
			}
			batch = append(batch, m)
		}
	}
	_, err := l.a.ProcessBatch(l.t.Context(), batch)
	require.NoError(l.t, err)
	for i, m := range batch {
		if is, _ := m.MetaGetMut("late"); is == true {
			late = append(late, offsets[i/(1+len(l.more))])
		}
	}
	l.ledger.Leave(e)
	return late, e.Watermark()
}

var unknown = checkpoint.Watermark{}

func upTo(at int64) checkpoint.Watermark { return checkpoint.Watermark{Known: true, At: at} }

// What of a batch is rejected comes again alone, or with what follows it, and is as late
// as it was; and what the whole batch has led to is not forgotten.
func TestWhatComesAgainIsAsLateAsItWas(t *testing.T) {
	times := []int{10, -1, 5, 20, 15, 12, 30}
	for name, test := range map[string]struct {
		again, late []int
	}{
		"from the beginning":                 {[]int{0, 1, 2, 3, 4, 5, 6}, []int{2, 4, 5}},
		"from the middle":                    {[]int{2, 3, 4, 5, 6}, []int{2, 4, 5}},
		"from one without an event time":     {[]int{1, 2, 3, 4, 5, 6}, []int{2, 4, 5}},
		"one, late":                          {[]int{2}, []int{2}},
		"one, not late":                      {[]int{0}, nil},
		"one without an event time":          {[]int{1}, nil},
		"some, without what is between them": {[]int{0, 4, 5}, []int{4, 5}},
		"the last":                           {[]int{6}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLane(t, "timestamp: this.t", append(times, 29)...)
			late, led := l.deliver(unknown, 0, 1, 2, 3, 4, 5, 6)
			require.Equal(t, []int{2, 4, 5}, late)
			require.Equal(t, upTo(30), led)
			for range 2 {
				late, led = l.deliver(unknown, test.again...)
				require.Equal(t, test.late, late)
				require.Equal(t, upTo(30), led, "records that were not rejected have led there")
			}
			late, led = l.deliver(upTo(30), 7)
			require.Equal(t, []int{7}, late)
			require.Equal(t, upTo(30), led)
		})
	}
}

func TestSeveralMessagesOfARecordComeAgain(t *testing.T) {
	l := newLane(t, "timestamp: this.t", 10, 20, 30)
	l.more = []int{25, 15}
	for range 3 {
		late, led := l.deliver(unknown, 0, 1, 2)
		require.Equal(t, []int{0, 1, 1, 2, 2}, late)
		require.Equal(t, upTo(30), led)
	}
	late, _ := l.deliver(unknown, 1, 2)
	require.Equal(t, []int{1, 1, 2, 2}, late)
}

// A partition that was lost and comes back begins where the last checkpoint left it, with
// batches that are cut otherwise.
func TestWhatFollowsThatComesAgainCounts(t *testing.T) {
	l := newLane(t, "timestamp: this.t", 10, 20, 40, 30, 35)
	l.deliver(unknown, 0, 1)
	late, led := l.deliver(unknown, 1, 2, 3)
	require.Equal(t, []int{3}, late)
	require.Equal(t, upTo(40), led)
	late, led = l.deliver(unknown, 3, 4)
	require.Equal(t, []int{3, 4}, late)
	require.Equal(t, upTo(40), led)
	late, _ = l.deliver(upTo(40), 4)
	require.Equal(t, []int{4}, late)
}

// Without an order another batch of the partition may pass before one comes again. What
// that one has led to must not count for the one before it.
func TestABatchThatComesAgainKnowsNothingOfThoseBehindIt(t *testing.T) {
	l := newLane(t, "timestamp: this.t", 1, 2, 30, 40)
	_, led := l.deliver(unknown, 0, 1)
	require.Equal(t, upTo(2), led)
	_, led = l.deliver(unknown, 2, 3)
	require.Equal(t, upTo(40), led)
	late, led := l.deliver(unknown, 0, 1)
	require.Empty(t, late)
	require.Equal(t, upTo(2), led)
}

// After a rewind the checkpoint says how far the partition has come.
func TestARewindGoesBackToWhatTheCheckpointHolds(t *testing.T) {
	l := newLane(t, "timestamp: this.t", 10, 5, 20, 15)
	late, _ := l.deliver(unknown, 0, 1, 2, 3)
	require.Equal(t, []int{1, 3}, late)
	l.ledger.Abandon()
	l.ledger.Renew()
	late, led := l.deliver(upTo(10), 1, 2, 3)
	require.Equal(t, []int{1, 3}, late)
	require.Equal(t, upTo(20), led)
	l.ledger.Abandon()
	l.ledger.Renew()
	late, led = l.deliver(unknown, 0)
	require.Empty(t, late)
	require.Equal(t, upTo(10), led, "what followed has not come yet")
}

// Another member of the group has read the partition in between, and further.
func TestAPartitionThatComesBackIsAsFarAsItWasRead(t *testing.T) {
	l := newLane(t, "timestamp: this.t", 10, 100, 90)
	l.deliver(unknown, 0)
	late, led := l.deliver(upTo(100), 2)
	require.Equal(t, []int{2}, late)
	require.Equal(t, upTo(100), led)
}

// A topic that was deleted and made anew begins at its first offset again, and with it
// event time.
func TestATopicMadeAnewBeginsAnew(t *testing.T) {
	l := newLane(t, "timestamp: this.t", 1, 2, 3, 4)
	l.times = []int{1001, 1002}
	l.deliver(unknown, 0, 1)
	l.times, l.number = []int{1, 2, 3, 2}, 1
	_, led := l.deliver(unknown, 0)
	_, led = l.deliver(led, 1)
	require.Equal(t, upTo(2), led)
	late, led := l.deliver(led, 2, 3)
	require.Equal(t, []int{3}, late, "not what the old topic has led to")
	require.Equal(t, upTo(3), led)
}
