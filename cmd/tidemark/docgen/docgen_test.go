package main

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestReferenceIsUpToDate(t *testing.T) {
	pages, err := render()
	require.NoError(t, err)
	require.NoError(t, compare(filepath.Join("..", "..", "..", "docs", "reference"), pages))
}

func TestWriteAndCompare(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "reference")
	pages := map[string][]byte{"inputs/a.md": []byte("a\n"), "README.md": []byte("list\n")}
	require.ErrorContains(t, compare(dir, pages), "README.md, inputs/a.md")
	require.NoError(t, write(dir, pages))
	require.NoError(t, compare(dir, pages))

	// A change and a component that is gone are found and mended.
	changed := map[string][]byte{"inputs/b.md": []byte("b\n"), "README.md": []byte("other\n")}
	assert.ErrorContains(t, compare(dir, changed), "README.md, inputs/a.md, inputs/b.md")
	require.NoError(t, write(dir, changed))
	require.NoError(t, compare(dir, changed))
}

func TestPageTellsWhatAFieldIs(t *testing.T) {
	pages, err := render()
	require.NoError(t, err)
	text := string(pages["metrics/prometheus.md"])
	assert.Contains(t, text, "### `push_basic_auth.password`")
	assert.Contains(t, text, "a secret")
	assert.Contains(t, text, "Type: `string`, default: `\"benthos_push\"`")
	assert.Contains(t, string(pages["README.md"]), "[`prometheus`](metrics/prometheus.md)")
}
