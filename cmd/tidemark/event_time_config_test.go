package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
)

// What makes the files of config/ that work with event time do their work. Times are of
// the last days: brokers delete what bears older ones.

// doc is a JSON document.
type doc map[string]any

func (d doc) String() string {
	b, _ := json.Marshal(d)
	return string(b)
}

// put writes documents, or text as it is, to a partition of a topic, all of the same key.
func (k *kafka) put(topic string, partition int32, values ...any) {
	k.t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(k.addr), kgo.AllowAutoTopicCreation(), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	require.NoError(k.t, err)
	defer client.Close()
	var rs []*kgo.Record
	for _, v := range values {
		rs = append(rs, &kgo.Record{Topic: topic, Partition: partition, Key: []byte("k"), Value: []byte(fmt.Sprint(v))})
	}
	require.NoError(k.t, client.ProduceSync(k.ctx(), rs...).FirstErr())
}

// header returns a header of a record.
func header(r *kgo.Record, key string) string {
	for _, h := range r.Headers {
		if h.Key == key {
			return string(h.Value)
		}
	}
	return ""
}

// requireDocs waits until a topic holds as many records as are wanted, and fails unless
// they are those, in any order: what of gives for each of them.
func (k *kafka) requireDocs(topic string, of func(*kgo.Record) string, want ...string) {
	k.t.Helper()
	k.waitEnd(topic, int64(len(want)))
	var got []string
	for _, r := range k.read(topic, int64(len(want))) {
		got = append(got, of(r))
	}
	require.ElementsMatch(k.t, want, got, topic)
}

// plain is the content of a record; a document has its keys in order.
func plain(r *kgo.Record) string {
	var d doc
	if json.Unmarshal(r.Value, &d) != nil {
		return string(r.Value)
	}
	return d.String()
}

func keyed(r *kgo.Record) string { return string(r.Key) + " " + plain(r) }

// reasoned says of an error only that there is one.
func reasoned(r *kgo.Record) string {
	reason := header(r, "reason")
	if reason != "late" && !strings.HasPrefix(reason, "no ") && reason != "" {
		reason = "failed"
	}
	return reason + ": " + plain(r)
}

// again runs the same file once more, after a stop: it goes on at the checkpoint.
func (p *pipeline) again(k *kafka) *pipeline {
	p.t.Helper()
	p.stop()
	next := newPipeline(p.t, k, p.path)
	next.vars = p.vars
	next.start()
	return next
}

func payment(user string, cents int, at time.Time) doc {
	return doc{"user": user, "amount_cents": cents, "at_ms": at.UnixMilli()}
}

func spent(user string, payments, cents int, from time.Time) string {
	return fmt.Sprintf("%s %v", user, doc{
		"user": user, "payments": payments, "spent_cents": cents,
		"window_start": from.UTC().Format(time.RFC3339), "window_end": from.Add(10 * time.Second).UTC().Format(time.RFC3339),
	})
}

// The payments of a user are in both partitions; a window that is open when the process
// stops goes on in the next one.
func runWindows(t *testing.T, k *kafka, p *pipeline) {
	base := time.Now().Add(-time.Hour).Truncate(10 * time.Second)
	at := func(s float64) time.Time { return base.Add(time.Duration(s * float64(time.Second))) }
	unpriced := doc{"user": "ann", "at_ms": at(4).UnixMilli()}
	k.put("payments", 0, payment("bob", 40, at(3)), payment("ann", 100, at(1)), payment("ann", 250, at(9.999)), "not json", unpriced)
	k.put("payments", 1, payment("ann", 7, at(5)), payment("ann", 1000, at(10)))
	p.set("CHECKPOINTS", t.TempDir())
	p.start()
	k.put("payments", 0, payment("eve", 1, at(15)))
	k.put("payments", 1, payment("eve", 2, at(15)))
	first := []string{spent("ann", 3, 357, base), spent("bob", 1, 40, base)}
	k.requireDocs("spending", keyed, first...)
	for _, r := range k.read("spending", 2) {
		assert.Equal(t, at(9.999).UnixMilli(), r.Timestamp.UnixMilli())
	}
	k.put("payments", 0, payment("ann", 5, at(2)))
	uncounted := []string{"failed: not json", "failed: " + unpriced.String(), "late: " + payment("ann", 5, at(2)).String()}
	k.requireDocs("uncounted-payments", reasoned, uncounted...)

	last := p.again(k)
	// It is behind the watermark, but its window is not over.
	k.put("payments", 1, payment("bob", 60, at(12)))
	k.put("payments", 0, payment("eve", 4, at(32)))
	k.put("payments", 1, payment("eve", 8, at(32)))
	k.requireDocs("spending", keyed, append(first,
		spent("ann", 1, 1000, at(10)), spent("bob", 1, 60, at(10)), spent("eve", 2, 3, at(10)))...)
	last.stop()
	k.requireDocs("uncounted-payments", reasoned, uncounted...)
}

// Windows that are open move from one process to another.
func runExactlyOnceWindows(t *testing.T, k *kafka, p *pipeline) {
	base := time.Now().Add(-time.Hour).Truncate(10 * time.Second)
	at := func(s float64) time.Time { return base.Add(time.Duration(s * float64(time.Second))) }
	k.put("payments", 0, payment("ann", 100, at(1)), "not json")
	k.put("payments", 1, payment("bob", 40, at(3)))
	p.start()
	k.waitVisible("uncounted-payments", 1)
	other := newPipeline(t, k, p.path)
	other.start()
	p.stop()
	k.put("payments", 0, payment("ann", 250, at(9)), payment("ann", 1, at(15)))
	k.put("payments", 1, payment("bob", 2, at(15)))
	k.waitVisible("spending", 2)
	want := []string{spentOnce("ann", 2, 350, at(10)), spentOnce("bob", 1, 40, at(10))}
	assert.ElementsMatch(t, want, k.visible("spending"))
	other.stop()
}

func spentOnce(user string, payments, cents int, end time.Time) string {
	return doc{"user": user, "payments": payments, "spent_cents": cents, "window_end": end.UTC().Format(time.RFC3339)}.String()
}

// A visit survives a stop; what comes when it is over is dropped.
func runSessions(t *testing.T, k *kafka, p *pipeline) {
	base := time.Now().Add(-6 * time.Hour).Truncate(time.Second)
	at := func(minutes float64) int64 { return base.UnixMilli() + int64(minutes*60_000) }
	click := func(visitor, page string, minutes float64) doc {
		return doc{"visitor": visitor, "page": page, "at_ms": at(minutes)}
	}
	visit := func(visitor string, began, seconds float64, pages ...string) string {
		return fmt.Sprintf("%s %v", visitor, doc{"visitor": visitor, "began_ms": at(began), "seconds": seconds, "pages": pages})
	}
	nobody := doc{"page": "/", "at_ms": at(3)}
	k.put("clicks", 0, click("ann", "/", 0), click("ann", "/cart", 20), click("ann", "/search", 19.5), "not json")
	k.put("clicks", 1, click("bob", "/", 1), click("ann", "/pay", 40), nobody)
	p.set("CHECKPOINTS", t.TempDir())
	p.start()
	// They are the last ones of their partitions, so the rest has been read.
	k.requireDocs("unread-clicks", reasoned, "failed: not json", "failed: "+nobody.String())

	last := p.again(k)
	k.put("clicks", 0, click("ann", "/thanks", 50), click("ann", "/", 120), click("eve", "/", 300))
	k.put("clicks", 1, click("eve", "/", 300))
	visits := []string{
		visit("ann", 0, 3000, "/", "/search", "/cart", "/pay", "/thanks"), visit("bob", 1, 0, "/"), visit("ann", 120, 0, "/"),
	}
	k.requireDocs("visits", keyed, visits...)
	k.put("clicks", 0, click("ann", "/late", 30), "not json either")
	k.waitEnd("unread-clicks", 3)
	last.stop()
	k.requireDocs("visits", keyed, visits...)
}

// An id counts as seen for 24 hours of event time, also over a restart.
func runDedupe(t *testing.T, k *kafka, p *pipeline) {
	base := time.Now().Add(-150 * time.Hour)
	order := func(id string, hour float64) doc {
		return doc{"id": id, "at_ms": base.Add(time.Duration(hour * float64(time.Hour))).UnixMilli()}
	}
	var want []string
	// pass writes what is passed on, and waits for it.
	pass := func(partition int32, d any) {
		k.put("orders", partition, d)
		want = append(want, fmt.Sprint(d))
		k.waitEnd("orders-once", int64(len(want)))
	}
	// forgotten writes an id until it is passed on again, which takes until the cache has
	// been told how far event time has come.
	forgotten := func(id string, hour float64, patience time.Duration) bool {
		for deadline := time.Now().Add(patience); time.Now().Before(deadline); <-time.After(tick) {
			k.put("orders", 0, order(id, hour))
			if k.end("orders-once") > int64(len(want)) {
				want = append(want, order(id, hour).String())
				return true
			}
		}
		return false
	}
	k.put("orders", 0, "not json")
	want = append(want, "not json")
	p.set("CHECKPOINTS", t.TempDir())
	p.start()
	for partition := range int32(2) {
		pass(partition, doc{"at_ms": base.UnixMilli()})
	}
	// What is noted before event time is known lives longer, so first something must be
	// forgotten.
	pass(0, order("first", 0))
	h := 25.0
	for ; ; h += 25 {
		require.Less(t, h, 120.0)
		pass(0, order(fmt.Sprint("at ", h), h))
		pass(1, order(fmt.Sprint("at ", h, " too"), h))
		if forgotten("first", h, time.Second) {
			break
		}
	}
	pass(0, order("a", h))
	k.put("orders", 1, order("a", h))
	pass(1, order("b", h))
	k.put("orders", 0, order("b", h), order("a", h+.01))
	pass(0, order("c", h+.02))

	last := p.again(k)
	k.put("orders", 1, order("a", h+.02), order("c", h+.02))
	pass(1, order("d", h+23.9))
	pass(0, order("e", h+23.9))
	require.False(t, forgotten("a", h+23.9, time.Second))
	// Event time is where the slower partition is.
	pass(1, order("f", h+24.2))
	k.put("orders", 0, order("a", h+23.9), order("b", h+23.9))
	pass(0, order("g", h+24.2))
	for _, id := range []string{"a", "b"} {
		require.True(t, forgotten(id, h+24.2, patience))
		k.put("orders", 1, order(id, h+24.2))
		k.put("orders", 0, order("d", h+24.2))
	}
	pass(0, order("h", h+24.2))
	pass(1, order("i", h+24.2))
	last.stop()
	k.requireDocs("orders-once", plain, want...)
}

// An order that is read before a stop is joined with payments that come after it.
func runJoin(t *testing.T, k *kafka, p *pipeline) {
	base := time.Now().Add(-3 * time.Hour).Truncate(time.Second)
	at := func(minutes int) int64 { return base.Add(time.Duration(minutes) * time.Minute).UnixMilli() }
	order := func(id, item string, minutes int) doc {
		return doc{"order": id, "item": item, "ordered_ms": at(minutes)}
	}
	paid := func(id string, cents, minutes int) doc {
		return doc{"order": id, "amount_cents": cents, "paid_ms": at(minutes)}
	}
	k.put("payments", 0, paid("o-3", 50, 0))
	k.put("orders", 0, order("o-1", "tea", 0), "not json")
	k.put("orders", 1, order("o-2", "milk", 1), "not json")
	p.set("CHECKPOINTS", t.TempDir())
	p.start()
	// They are the last ones of their partitions, so the rest has been read.
	failed := []string{"failed: not json", "failed: not json"}
	k.requireDocs("unmatched", reasoned, failed...)

	last := p.again(k)
	k.put("payments", 1, paid("o-1", 200, 2))
	k.put("payments", 0, paid("o-1", 100, 1), paid("o-2", 70, 20))
	for partition := range int32(2) {
		k.put("orders", partition, order("o-9", "rice", 60))
		k.put("payments", partition, paid("o-9", 1, 60))
	}
	matched := keyedDoc("o-1", doc{
		"order": "o-1", "item": "tea", "ordered_ms": at(0), "paid_cents": 300,
		"payments": []doc{{"amount_cents": 100, "paid_ms": at(1)}, {"amount_cents": 200, "paid_ms": at(2)}},
	})
	k.requireDocs("paid-orders", keyed, matched)
	unmatched := append(failed,
		"no payment: "+doc{"order": "o-2", "item": "milk", "ordered_ms": at(1), "paid_cents": 0, "payments": []doc{}}.String(),
		"no order: "+doc{"order": "o-2", "paid_cents": 70, "payments": []doc{{"amount_cents": 70, "paid_ms": at(20)}}}.String(),
		"no order: "+doc{"order": "o-3", "paid_cents": 50, "payments": []doc{{"amount_cents": 50, "paid_ms": at(0)}}}.String(),
	)
	k.requireDocs("unmatched", reasoned, unmatched...)
	// Two orders that are late come as one batch, and stay two.
	k.put("orders", 0, order("o-4", "salt", 5), order("o-5", "eggs", 5))
	k.requireDocs("unmatched", reasoned, append(unmatched, "late: "+order("o-4", "salt", 5).String(), "late: "+order("o-5", "eggs", 5).String())...)
	last.stop()
	k.requireDocs("paid-orders", keyed, matched)
	for _, r := range k.read("unmatched", k.end("unmatched")) {
		var d doc
		if json.Unmarshal(r.Value, &d) == nil {
			assert.Equal(t, d["order"], string(r.Key))
		}
	}
}

func keyedDoc(key string, d doc) string { return key + " " + d.String() }

// The payments of a user, which are in both partitions, are in one of the copy; then two
// processes count them, as the file says that they are started.
func runRepartition(t *testing.T, k *kafka, p *pipeline) {
	base := time.Now().Add(-time.Hour).Truncate(10 * time.Second)
	users := []string{"ann", "bob", "cid", "dan", "eve", "fay", "gus", "hal"}
	var want []string
	for partition := range int32(2) {
		var ps []any
		for i, user := range users {
			ps = append(ps, payment(user, 100+i, base.Add(time.Duration(i)*time.Second)))
		}
		// Each user moves event time on, wherever it is.
		for _, user := range users {
			ps = append(ps, payment(user, 1, base.Add(2*time.Minute)))
		}
		k.put("payments", partition, ps...)
	}
	for i, user := range users {
		want = append(want, spent(user, 2, 2*(100+i), base))
	}
	p.set("CHECKPOINTS", t.TempDir())
	p.start()
	k.waitEnd("payments-by-user", int64(4*len(users)))
	partitions, used := map[string]int32{}, map[int32]bool{}
	for _, r := range k.read("payments-by-user", int64(4*len(users))) {
		if was, ok := partitions[string(r.Key)]; ok {
			assert.Equal(t, was, r.Partition, "%s is in one partition", r.Key)
		}
		partitions[string(r.Key)], used[r.Partition] = r.Partition, true
	}
	assert.Len(t, partitions, len(users))
	require.Len(t, used, 2, "both shards have something to count")

	var shards []*child
	for shard := range 2 {
		set := "input.kafka_checkpointed."
		shards = append(shards, start(t, "", []string{"KAFKA_BROKERS=" + k.addr, "CHECKPOINTS=" + filepath.Join(t.TempDir(), "shard")}, "run",
			"--set", fmt.Sprintf("http.address=127.0.0.1:%d", freePort(t)), "--set", set+"topics.0=payments-by-user",
			"--set", fmt.Sprintf("%sshard.index=%d", set, shard), "--set", set+"shard.count=2",
			"--set", "input.processors.0.watermark_periodic.max_out_of_orderness=1m", filepath.Join("..", "..", "config", "windows.yaml")))
	}
	k.requireDocs("spending", keyed, want...)
	for _, c := range shards {
		c.signal(os.Interrupt)
		assert.Zero(t, c.code(), c.text())
	}
}
