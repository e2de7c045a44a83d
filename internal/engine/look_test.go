package engine

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tidemarkhq/tidemark/internal/store"
)

// A long log takes as long as it takes; a transaction of somebody else does not.
func TestReadsArePatientWithLongLogsOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const left = 10 * time.Second
		began := time.Now()
		reads := 0
		require.NoError(t, patiently(t.Context(), time.Second, func(ctx context.Context) error {
			reads++
			select {
			case <-time.After(left - time.Since(began)):
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}))
		require.Equal(t, left, time.Since(began))
		require.Equal(t, 4, reads, "for 1, 2, 4 and 3 s")

		began = time.Now()
		blocked := func(ctx context.Context) error {
			<-ctx.Done()
			return &store.BlockedError{Cause: ctx.Err()}
		}
		require.True(t, isBlocked(patiently(t.Context(), time.Second, blocked)))
		require.Equal(t, time.Second, time.Since(began))

		refused := errors.New("refused")
		require.Equal(t, refused, patiently(t.Context(), time.Second, func(context.Context) error { return refused }))
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		require.ErrorIs(t, patiently(ctx, time.Second, func(ctx context.Context) error {
			<-ctx.Done()
			return ctx.Err()
		}), context.DeadlineExceeded)
	})
}
