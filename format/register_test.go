package format_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tidemarkhq/tidemark/format"
)

type upper struct{}

func (upper) Decode(context.Context, format.Part, []byte) (any, error) { return nil, nil }
func (upper) Encode(context.Context, format.Part, any) ([]byte, error) { return nil, nil }

func TestRegister(t *testing.T) {
	build := func(format.Settings) (format.Format, error) { return upper{}, nil }
	for _, name := range []string{"orders", "acme. orders", ""} {
		require.ErrorContains(t, format.Register(name, build), "must have a dot and no space", name)
	}
	require.ErrorContains(t, format.Register("acme.nothing", nil), "constructor is nil")
	require.NoError(t, format.Register("acme.orders", build))
	require.ErrorContains(t, format.Register("acme.orders", build), "one of that name already")

	assert.Contains(t, format.Names(), "acme.orders")
	construct, ok := format.Registered("acme.orders")
	require.True(t, ok)
	f, err := construct(format.Settings{})
	require.NoError(t, err)
	assert.Equal(t, upper{}, f)
	_, ok = format.Registered("acme.returns")
	assert.False(t, ok)
}

func TestUnavailableKeepsTheCause(t *testing.T) {
	cause := errors.New("connection refused")
	err := fmt.Errorf("schema 7: %w", format.Unavailable(cause))
	assert.True(t, format.IsUnavailable(err))
	assert.ErrorIs(t, err, cause)
	assert.EqualError(t, err, "schema 7: connection refused")
	assert.False(t, format.IsUnavailable(cause))
	assert.NoError(t, format.Unavailable(nil))
}
