package checkpoint_test

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tidemarkhq/tidemark/checkpoint"
)

// TestPrefixIsLikeABitmap acknowledges spans in any order, with gaps in between,
// and compares with a bitmap of offsets.
func TestPrefixIsLikeABitmap(t *testing.T) {
	random(t, func(t require.TestingT, r *rand.Rand) {
		at := checkpoint.Offset(r.IntN(20))
		p := checkpoint.NewPrefix(at)
		covered := make([]bool, 4000) // by offset
		next := at
		type open struct {
			from checkpoint.Offset
			span *checkpoint.Span
		}
		var spans, forgotten []open
		expect := func() checkpoint.Offset {
			n := at
			for n < next && covered[n] {
				n++
			}
			return n
		}
		for range 100 {
			switch n := checkpoint.Offset(1 + r.IntN(9)); r.IntN(7) {
			case 0, 1, 2:
				spans = append(spans, open{next, p.Open(next + n)})
				next += n
			case 3:
				p.Pass(next + n)
				for i := next; i < next+n; i++ {
					covered[i] = true
				}
				next += n
			case 4, 5:
				if len(spans) == 0 {
					continue
				}
				i := r.IntN(len(spans))
				for o := spans[i].from; o < spans[i].span.End; o++ {
					covered[o] = true
				}
				p.Done(spans[i].span)
				spans = append(spans[:i], spans[i+1:]...)
			case 6:
				if r.IntN(5) > 0 {
					continue
				}
				at = checkpoint.Offset(r.IntN(int(next) + 1))
				p.Reset(at)
				next = at
				clear(covered)
				forgotten = append(forgotten, spans...)
				spans = nil
			}
			if len(forgotten) > 0 && r.IntN(3) == 0 {
				p.Done(forgotten[0].span) // A late acknowledgement of before the reset.
				forgotten = forgotten[1:]
			}
			require.Equal(t, expect(), p.Position())
			require.GreaterOrEqual(t, p.Pending(), len(spans))
			if len(spans) == 0 {
				require.Zero(t, p.Pending())
				require.Equal(t, next, p.Position())
			}
		}
	})
}
