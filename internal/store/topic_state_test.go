package store

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tidemarkhq/tidemark/checkpoint"
	"github.com/tidemarkhq/tidemark/internal/kafkatest"
)

// What another process may have gone on with is not read before it was restored again. State
// of no partition in particular stays.
func TestTopicStateOfWhatWasLostIsNotReadUntilItIsRestored(t *testing.T) {
	r := newTopicRig(t, kafkatest.Fake(t), 3)
	topic, p := r.open(testJob), r.producer("p")
	mine, lost := scopeOf(0), scopeOf(1)
	all := []checkpoint.Scope{mine, lost, {}, checkpoint.Everywhere}
	_, err := topic.Restore(patient(t), all)
	require.NoError(t, err)
	var changes []checkpoint.Change
	for _, s := range all {
		changes = append(changes, checkpoint.Change{Operator: testOperator, Scope: s, Key: []byte("k"), Value: []byte("v")})
	}
	p.persist(topic, manifestOf(testJob, 1, checkpoint.Positions{mine: at(1), lost: at(1)}), changes...)

	topic.Only(func(s checkpoint.Scope) bool { return s == mine })
	for _, s := range all {
		v, err := topic.Get(testOperator, s, []byte("k"))
		if s == lost {
			require.ErrorIs(t, err, checkpoint.ErrNotRestored)
			continue
		}
		require.NoError(t, err)
		require.Equal(t, "v", string(v))
	}
	_, err = topic.Restore(patient(t), []checkpoint.Scope{lost})
	require.NoError(t, err)
	v, err := topic.Get(testOperator, lost, []byte("k"))
	require.NoError(t, err)
	require.Equal(t, "v", string(v))
}
