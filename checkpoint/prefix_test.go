package checkpoint_test

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tidemarkhq/tidemark/checkpoint"
)

// The watermark is that of what is acknowledged in front of the first gap.
func TestPrefixHasTheWatermarkOfItsEnd(t *testing.T) {
	known := func(at int64) checkpoint.Watermark { return checkpoint.Watermark{Known: true, At: at} }
	p := checkpoint.NewPrefix(0)
	require.Equal(t, checkpoint.Watermark{}, p.Watermark())
	p.Advance(known(5))
	first, second, third := p.Open(10), p.Open(20), p.Open(30)
	second.Watermark = known(70)
	p.Done(second)
	require.Equal(t, known(5), p.Watermark())
	p.Done(first)
	require.Equal(t, known(70), p.Watermark(), "nothing is known of the first one, but the second one follows it")
	third.Watermark = known(-3)
	p.Done(third)
	require.Equal(t, known(70), p.Watermark(), "it does not fall")
	p.Reset(0)
	require.Equal(t, checkpoint.Watermark{}, p.Watermark())
	p.Done(third)
	require.Equal(t, checkpoint.Watermark{}, p.Watermark(), "of before the reset")
}

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
