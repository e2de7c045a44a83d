package checkpoint_test

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tidemarkhq/tidemark/checkpoint"
)

// TestLedgerIsLikeAList compares a ledger with a plain list of batches.
func TestLedgerIsLikeAList(t *testing.T) {
	type batch struct {
		entry   *checkpoint.Entry
		owner   string
		inside  bool
		state   checkpoint.EntryState
		attempt int
		// rejected: not inside any more, and may come again until the attempt ends.
		rejected bool
	}
	random(t, func(t require.TestingT, r *rand.Rand) {
		l := checkpoint.NewLedger(nil, true)
		var all []*batch
		attempt, abandoned := 0, false
		for range 100 {
			switch r.IntN(9) {
			case 0, 1, 2, 3:
				b := &batch{owner: pick(r, "a", "b", "c"), inside: true, attempt: attempt}
				if abandoned {
					b.state = checkpoint.Discarded
				}
				b.entry = l.Enter(b.owner, checkpoint.Partition{Topic: "t"})
				all = append(all, b)
			case 4, 5:
				if len(all) == 0 {
					continue
				}
				b := pick(r, all...)
				require.Equal(t, b.inside, l.Leave(b.entry))
				if b.inside && b.state == checkpoint.Live {
					b.state = checkpoint.Left
				}
				b.inside = false
			case 8:
				if len(all) == 0 {
					continue
				}
				b := pick(r, all...)
				require.Equal(t, b.inside, l.Reject(b.entry))
				b.rejected = b.rejected || b.inside
				b.inside = false
			case 6:
				owner := pick(r, "a", "b", "c")
				n := 0
				for _, b := range all {
					if b.inside && b.owner == owner {
						b.inside, b.state = false, checkpoint.Discarded
						n++
					}
				}
				require.Equal(t, n, l.DiscardOwner(owner))
			case 7:
				if abandoned {
					l.Renew()
					abandoned = false
					continue
				}
				l.Abandon()
				attempt, abandoned = attempt+1, true
				for _, b := range all {
					if b.inside || b.rejected && b.state == checkpoint.Live {
						b.state = checkpoint.Discarded
					}
				}
			}
			owners := map[string]int{}
			n := 0
			for _, b := range all {
				if b.state != b.entry.State() || b.attempt != b.entry.Attempt {
					require.Equal(t, b.state, b.entry.State())
					require.Equal(t, b.attempt, b.entry.Attempt)
				}
				if b.inside {
					owners[b.owner]++
					n++
				}
			}
			require.Equal(t, n, l.Len())
			require.Equal(t, owners, l.Owners())
			require.Equal(t, owners["a"], l.LenOf("a"))
			require.Equal(t, attempt, l.Attempt())
		}
	})
}

func TestEntryKnowsTheHighestWatermark(t *testing.T) {
	e := checkpoint.NewLedger(nil, true).Enter("in", checkpoint.Partition{})
	require.Equal(t, checkpoint.Watermark{}, e.Watermark())
	for _, w := range []checkpoint.Watermark{{}, {Known: true, At: -7}, {Known: true, At: -9}, {}} {
		e.Advance(w)
	}
	require.Equal(t, checkpoint.Watermark{Known: true, At: -7}, e.Watermark())
}
