package buffer

import (
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tidemarkhq/tidemark/checkpoint"
)

// A cause that came before comes in other words when it comes with another batch.
func TestPermanentCausesAreKnownAgain(t *testing.T) {
	b := &buffer{permanent: map[string]int{}}
	refused := checkpoint.Permanent(errors.New("INVALID_TIMESTAMP"))
	require.NoError(t, b.permanentTwice(errors.New("the broker is away")))
	require.NoError(t, b.permanentTwice(errors.New("the broker is away")))
	require.NoError(t, b.permanentTwice(fmt.Errorf("1000 of 1000 messages were not written: %w", refused)))
	require.NoError(t, b.permanentTwice(fmt.Errorf("sending: %w", checkpoint.Permanent(errors.New("too large")))))
	require.ErrorContains(t, b.permanentTwice(fmt.Errorf("894 of 894 messages were not written: %w", refused)), "894 of 894")
}
