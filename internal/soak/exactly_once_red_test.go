package soak_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tidemarkhq/tidemark/internal/kafkatest"
	"github.com/tidemarkhq/tidemark/internal/soak"
)

// offsetsAfter commits offsets when the transaction that they belong to has ended.
var offsetsAfter = soak.Sabotage{
	File: "internal/engine/transaction.go",
	Old:  "if t.delivered.Load() == 0 {",
	New:  "if true {",
}

// notHeld writes what belongs to the next transaction into the one that is ending.
var notHeld = soak.Sabotage{
	File: "output/producer.go",
	Old:  "if p.gate.holding {",
	New:  "if false && p.gate.holding {",
}

// undoomed and unfailed go on with a transaction that holds records of partitions which were
// taken away.
var (
	undoomed = soak.Sabotage{File: "input/exactly.go", Old: "s.mu.doomed = cause", New: "s.mu.doomed = nil"}
	unfailed = soak.Sabotage{File: "input/exactly.go", Old: "<-s.publishing\n\ts.handle.Lost(idsOf(lanes), cause)", New: "<-s.publishing"}
)

// ungenerated sends offsets in transactions without member and generation.
var ungenerated = soak.Sabotage{
	File: "input/exactly.go",
	Old:  "err := s.sendCurrent(ctx, client, commits, send)\n\ts.noteCommits(commits, lanes, err)\n\treturn err",
	New:  "_ = client\n\terr := send(ctx, kafka.GroupCommit{Group: s.conf.Group, Generation: -1, Offsets: commits})\n\ts.noteCommits(commits, lanes, err)\n\treturn err",
}

// unfenced leaves open what members that are gone had open.
var unfenced = soak.Sabotage{
	File: "input/predecessors.go",
	Old:  "err = kafka.Fence(bounded, s.admin, id)",
	New:  "err = nil",
}

// unclaimed leaves open what those had open who had partitions before, as claims in the
// store say.
var unclaimed = soak.Sabotage{
	File: "internal/engine/keeper.go",
	Old:  "if err := kafka.Fence(ctx, k.client, id); err != nil {",
	New:  "if err := ctx.Err(); err != nil {",
}

// stateless writes checkpoints without the state of windows.
var stateless = soak.Sabotage{
	File: "internal/engine/transaction.go",
	Old:  "t.keeper.commit(ctx, m, changes, end)",
	New:  "t.keeper.commit(ctx, m, changes[:0], end)",
}

// A kill between the end of a transaction and the commit of its offsets doubles what was in
// it.
func TestHarnessTurnsRed_OffsetsAfterTransaction(t *testing.T) {
	turnOnceRed(t, form{}, "red/offsets after the transaction", soak.Doubled, (*crew).kill, func(c *crew) {
		c.delayed = []kmsg.Key{kmsg.OffsetCommit}
	}, offsetsAfter)
}

// What is written while a transaction ends is in it, and its offsets are not.
func TestHarnessTurnsRed_WritesNotHeldBack(t *testing.T) {
	turnOnceRed(t, form{}, "red/writes not held back", soak.Doubled, (*crew).kill, func(c *crew) {
		c.delayed = []kmsg.Key{kmsg.TxnOffsetCommit}
	}, notHeld)
}

// A member that could not end its transaction before it gave partitions up commits, later,
// what their next owner has written too.
func TestHarnessTurnsRed_TransactionNotDoomed(t *testing.T) {
	late := func(c *crew) (hit, bool) { return c.handOver(handing * 7 / 8) }
	turnOnceRed(t, form{}, "red/transaction not doomed", soak.Doubled, late, nameless, undoomed, unfailed, ungenerated)
}

// A member that was given up while its offsets were on their way commits what the next owner
// writes too, where neither its transactional id nor its generation is fenced.
func TestHarnessTurnsRed_NothingFenced(t *testing.T) {
	turnOnceRed(t, form{}, "red/nothing fenced", soak.Doubled, (*crew).haunt, nameless, unfenced, ungenerated)
}

// Transactions of the dead stay open until they time out.
func TestHarnessTurnsRed_PredecessorsNotFenced(t *testing.T) {
	turnOnceRed(t, form{}, "red/predecessors not fenced", soak.LeftOpen, (*crew).kill, nameless, unfenced)
}

// So do those of shards that are read by other processes now, under another prefix.
func TestHarnessTurnsRed_ShardsNotFenced(t *testing.T) {
	f := form{load: soak.Load{OffsetsForShow: true}, store: true, shards: 1}
	turnOnceRed(t, f, "red/shards not fenced", soak.LeftOpen, (*crew).killShardRenamed, func(*crew) {}, unclaimed)
}

// And those of members whose group is on another cluster.
func TestHarnessTurnsRed_ClustersNotFenced(t *testing.T) {
	turnOnceRed(t, form{store: true, apart: true}, "red/clusters not fenced", soak.LeftOpen, (*crew).kill, nameless, unclaimed)
}

// Whoever takes over windows whose state is not in the checkpoint counts from there on.
func TestHarnessTurnsRed_WindowsWithoutState(t *testing.T) {
	f := form{load: soak.Load{Windows: true}, store: true}
	turnOnceRed(t, f, "red/windows without state", soak.WrongState, (*crew).kill, func(*crew) {}, stateless)
}

// haunt lets a member that is frozen while its offsets are on their way go on when others
// have claimed what it had.
func (c *crew) haunt() (hit, bool) {
	c.cover()
	m := c.any()
	hold := m.proxy.HoldRequests(kmsg.TxnOffsetCommit)
	if !c.rig.Await(c.patience, "offsets of "+m.Name(), func() bool { return hold.Held() > 0 }) {
		return hit{}, false
	}
	m.Freeze()
	h := hit{at: time.Now(), open: c.opened(m), from: c.rig.Audit.Next()}
	ok := c.rig.Await(c.patience, "others to take over", func() bool { return len(c.rig.Owned(c.writer(m))) == 0 })
	hold.Release()
	m.Thaw()
	return h, ok
}

func nameless(c *crew) { c.nameless = true }

// turnOnceRed plays one fault with a broken binary until what has to come of it is found.
func turnOnceRed(
	t *testing.T, f form, name string, want soak.Fault, play func(*crew) (hit, bool), prepare func(*crew), places ...soak.Sabotage,
) {
	t.Helper()
	p, v := soak.Begin(t, name, 1)
	broker := kafkatest.Shared(t)
	source := broker
	if f.apart {
		source = kafkatest.Real(t, kafkatest.Newest)
	}
	c := f.crew(t, p, v, broker, source)
	c.binary, c.patience, c.faults = soak.Broken(t, places...), 20*time.Second, []fault{{name, play}}
	prepare(c)
	v.Extra["sabotage"] = places
	rig := c.rig
	found := func() bool {
		_, counts := rig.Audit.Violations()
		return counts[want] > 0
	}
	for ok := c.begin(); ok && v.Rounds < 12 && !found(); {
		ok = c.round()
	}
	v.ConcludeRed(t, rig.Audit)
	require.True(t, found(), "%v", rig.Audit)
}
