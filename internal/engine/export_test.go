package engine

import (
	"context"
	"testing"

	"github.com/tidemarkhq/tidemark/internal/store"
)

// OpenStoresWith changes how stores are opened during a test.
func OpenStoresWith(t testing.TB, change func(*store.Options)) {
	t.Helper()
	before := openDirectory
	openDirectory = func(ctx context.Context, o store.Options) (*store.Directory, error) {
		change(&o)
		return before(ctx, o)
	}
	t.Cleanup(func() { openDirectory = before })
}
