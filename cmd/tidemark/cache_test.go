package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// dedupeOf is a pipeline that copies what a cache has not seen; named is whether its
// input says that the cache is its own.
func dedupeOf(t *testing.T, k *kafka, from, to, cache string, named bool) string {
	t.Helper()
	caches := ""
	if named {
		caches = ", caches: [ " + cache + " ]"
	}
	return fmt.Sprintf(`
input:
  kafka_checkpointed:
    seed_brokers: [ %[1]s ]
    topics: [ %[2]s ]
    start_from: earliest
    checkpoint: { interval: 100ms, job: %[2]s, store: { directory: %[5]q }%[6]s }
pipeline:
  processors:
    - dedupe: { cache: %[4]s, key: '${! content() }' }
output:
  kafka_checkpointed:
    seed_brokers: [ %[1]s ]
    topic: %[3]s
`, k.addr, from, to, cache, t.TempDir(), caches)
}

const twoCaches = `
cache_resources:
  - label: seen_a
    checkpointed: {}
  - label: seen_b
    checkpointed: {}
`

// Two streams in one process: each has a cache of its own, which is there before the first
// record after a restart.
func TestStreamsModeRestoresTheCacheOfEachStream(t *testing.T) {
	k := startKafka(t)
	root, caches := write(t, "root.yaml", noHTTP), write(t, "caches.yaml", twoCaches)
	dir := t.TempDir()
	for _, s := range []string{"a", "b"} {
		k.produce("in-"+s, "x", "y", "x")
		conf := dedupeOf(t, k, "in-"+s, "out-"+s, "seen_"+s, true)
		require.NoError(t, os.WriteFile(filepath.Join(dir, s+".yaml"), []byte(conf), 0o600))
	}
	for round := range 3 {
		c := start(t, "", nil, "streams", "--no-api", "-o", root, "-r", caches, dir)
		for _, s := range []string{"a", "b"} {
			k.produce("in-"+s, "y", fmt.Sprint(s, round), "x")
			k.waitEnd("out-"+s, int64(3+round))
		}
		c.signal(os.Interrupt)
		assert.Zero(t, c.code(), c.text())
	}
	for _, s := range []string{"a", "b"} {
		assert.EqualValues(t, 5, k.end("out-"+s), "x, y, and one for each round")
	}
}

// A cache that could be of several streams belongs to none: they stop before anything is
// dropped on its account.
func TestStreamsModeRefusesACacheThatNobodyNames(t *testing.T) {
	k := startKafka(t)
	root, caches := write(t, "root.yaml", noHTTP), write(t, "caches.yaml", twoCaches)
	dir := t.TempDir()
	for _, s := range []string{"a", "b"} {
		k.produce("in-"+s, "x", "y")
		conf := dedupeOf(t, k, "in-"+s, "out-"+s, "seen_a", false)
		require.NoError(t, os.WriteFile(filepath.Join(dir, s+".yaml"), []byte(conf), 0o600))
	}
	c := start(t, "", nil, "streams", "--no-api", "-o", root, "-r", caches, dir)
	c.waitFor(`may be used by 2 streams and can belong to one: name it in checkpoint.caches`)
	c.signal(os.Interrupt)
	assert.Equal(t, 1, c.code(), c.text())
}

// Two streams that name the same cache cannot both have it.
func TestStreamsModeRefusesACacheOfTwoStreams(t *testing.T) {
	k := startKafka(t)
	root, caches := write(t, "root.yaml", noHTTP), write(t, "caches.yaml", twoCaches)
	dir := t.TempDir()
	for _, s := range []string{"a", "b"} {
		k.produce("in-"+s, "x", "y")
		conf := dedupeOf(t, k, "in-"+s, "out-"+s, "seen_a", true)
		require.NoError(t, os.WriteFile(filepath.Join(dir, s+".yaml"), []byte(conf), 0o600))
	}
	c := start(t, "", nil, "streams", "--no-api", "-o", root, "-r", caches, dir)
	c.waitFor(`it can belong to one stream`)
	c.signal(os.Interrupt)
	assert.Equal(t, 1, c.code(), c.text())
}

// In a single stream nobody has to name the cache; names that are wrong are refused.
func TestRunRestoresTheCache(t *testing.T) {
	k := startKafka(t)
	k.produce("in", "x", "y", "x")
	conf := dedupeOf(t, k, "in", "out", "seen_a", false)
	path := write(t, "dedupe.yaml", noHTTP+twoCaches+conf)
	for round := range 2 {
		c := start(t, "", nil, "run", path)
		k.produce("in", "y", fmt.Sprint(round), "x")
		k.waitEnd("out", int64(3+round))
		c.signal(os.Interrupt)
		assert.Zero(t, c.code(), c.text())
	}
	assert.EqualValues(t, 4, k.end("out"))

	for label, want := range map[string]string{"other": `there is no cache resource of that label`, "plain": `is no cache of type checkpointed`} {
		wrong := strings.Replace(conf, "interval: 100ms", "interval: 100ms, caches: [ "+label+" ]", 1)
		c := start(t, "", nil, "run", write(t, "wrong.yaml", noHTTP+twoCaches+"  - label: plain\n    memory: {}\n"+wrong))
		assert.Equal(t, 1, c.code(), c.text())
		assert.Contains(t, c.text(), want)
	}
}
