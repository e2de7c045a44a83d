package connection_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tidemarkhq/tidemark/internal/connection"
)

var (
	errRefused = errors.New("connection refused")
	errReset   = errors.New("connection reset")
	errFinal   = errors.New("wrong password")
)

// The test is a bubble: time is virtual. Benthos's part is the loop that calls
// Connect again a second after each error.
func TestPatienceReportsSeldomAndTriesOften(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		since := func() time.Duration { return time.Since(began) }
		tries := 0
		try := func(context.Context) (bool, error) {
			tries++
			switch at := since(); {
			case at < 40*time.Second:
				return true, errRefused
			case at < 60*time.Second:
				return true, errReset
			}
			return false, nil
		}
		type report struct {
			at  time.Duration
			err error
		}
		var reports []report
		var p connection.Patience
		for {
			err := p.Connect(t.Context(), try)
			if err == nil {
				break
			}
			reports = append(reports, report{since().Truncate(time.Second), err})
			time.Sleep(time.Second) // virtual
		}
		require.Equal(t, []report{{0, errRefused}, {30 * time.Second, errRefused}, {40 * time.Second, errReset}}, reports)
		require.Less(t, since(), 61*time.Second, "it is there as soon as it can be")
		require.InDelta(t, 120, tries, 5)
	})
}

func TestPatienceEndsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p connection.Patience
		fails := func(again bool, err error) func(context.Context) (bool, error) {
			return func(context.Context) (bool, error) { return again, err }
		}
		require.ErrorIs(t, p.Connect(t.Context(), fails(true, errRefused)), errRefused)
		require.ErrorIs(t, p.Connect(t.Context(), fails(false, errFinal)), errFinal, "what does not heal is no matter of patience")
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		require.ErrorIs(t, p.Connect(ctx, fails(true, errRefused)), context.DeadlineExceeded)
	})
}
