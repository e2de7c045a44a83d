package main

import (
	"encoding/json"
	"os"
	"strconv"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// numbers returns how often each order is in a topic.
func (k *kafka) numbers(topic string) map[int64]int {
	k.t.Helper()
	seen := map[int64]int{}
	for _, r := range k.read(topic, k.end(topic)) {
		var o struct {
			Order int64 `json:"order"`
			Total int64 `json:"total_cents"`
		}
		require.NoError(k.t, json.Unmarshal(r.Value, &o))
		seen[o.Order]++
	}
	return seen
}

func atoi(t *testing.T, s string) int64 {
	t.Helper()
	n, err := strconv.ParseInt(s, 10, 64)
	require.NoError(t, err)
	return n
}

const (
	listening = `Broker listening on (\S+),`
	progress  = `records ([1-9]\d*)  rate \d+/s  lag \d+  checkpoint ([1-9]\d*), \d+\.\ds ago`
	farewell  = `Stopped in order after (\d+) of (\d+) orders`
)

// Stopped in order, the demo goes on where it was: nothing is missing, nothing is
// there twice.
func TestDemoResumes(t *testing.T) {
	dir := t.TempDir()
	c := start(t, dir, nil, "demo", "--rate", "2000")
	c.waitFor(`First run: starting at the first order\.`)
	c.waitFor(progress)
	c.signal(os.Interrupt)
	require.Zero(t, c.code(), c.text())
	done := c.waitFor(farewell)
	require.Positive(t, atoi(t, done[1]))

	c = start(t, dir, nil, "demo", "--rate", "2000")
	resumed := c.waitFor(`Resuming at the last checkpoint, after (\d+) of (\d+) orders \(partition 0 at \d+`)
	assert.Equal(t, done[1:], resumed[1:])
	c.waitFor(progress)
	c.signal(os.Interrupt)
	require.Zero(t, c.code(), c.text())

	// Without new orders it only has to catch up.
	c = start(t, dir, nil, "demo", "--rate", "0")
	k := dialKafka(t, c.waitFor(listening)[1])
	k.waitEnd("enriched-orders", k.end("orders"))
	seen := k.numbers("enriched-orders")
	require.Len(t, seen, int(k.end("orders")))
	for n, times := range seen {
		assert.Equal(t, 1, times, "order %d", n)
	}
	c.signal(os.Interrupt)
	require.Zero(t, c.code(), c.text())
	all := c.waitFor(farewell)
	assert.Equal(t, all[1], all[2], "everything is covered by the final checkpoint")
}

// Killed, it repeats what it did since its last checkpoint, and loses nothing.
func TestDemoSurvivesAKill(t *testing.T) {
	dir := t.TempDir()
	c := start(t, dir, nil, "demo", "--rate", "2000")
	c.waitFor(progress)
	c.signal(os.Kill)
	require.NotZero(t, c.code())

	c = start(t, dir, nil, "demo", "--rate", "0")
	c.waitFor(`Resuming at the last checkpoint`)
	k := dialKafka(t, c.waitFor(listening)[1])
	orders := k.end("orders")
	require.Positive(t, orders)
	require.Eventually(t, func() bool { return int64(len(k.numbers("enriched-orders"))) == orders }, patience, tick)
	c.signal(os.Interrupt)
	require.Zero(t, c.code(), c.text())
}

// The same demo runs on a Kafka that is there.
func TestDemoOnAKafka(t *testing.T) {
	k := startKafka(t)
	c := start(t, t.TempDir(), []string{"KAFKA_BROKERS=" + k.addr}, "demo", "--rate", "500")
	c.waitFor(`Using the Kafka at ` + k.addr)
	c.waitFor(progress)
	c.signal(os.Interrupt)
	require.Zero(t, c.code(), c.text())
	assert.Positive(t, k.end("enriched-orders"))
}

func TestDemoRefusesAFolderInUse(t *testing.T) {
	dir := t.TempDir()
	first := start(t, dir, nil, "demo")
	first.waitFor(listening)
	second := start(t, dir, nil, "demo")
	assert.Equal(t, 1, second.code())
	assert.Contains(t, second.text(), `locking the folder "./data/demo"`)
	first.signal(os.Interrupt)
	require.Zero(t, first.code(), first.text())
}
