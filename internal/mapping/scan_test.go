package mapping

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// What is nested too deep is left to the mapping, which refuses it: checking it here would
// need more stack than there may be.
func TestDeepDocumentsAreLeftToTheMapping(t *testing.T) {
	for depth, want := range map[int]bool{1: true, 900: true, 10_001: false, 8 << 20: false} {
		for _, pair := range [][2]string{{"[", "]"}, {`{"x":[`, "]}"}} {
			n := depth / len(pair[1])
			deep := strings.Repeat(pair[0], n) + strings.Repeat(pair[1], n)
			if n == 0 {
				continue
			}
			var found [1][]byte
			require.Equal(t, want, members([]byte(`{"x":`+deep+`,"a":1}`), []string{"a"}, found[:]), depth)
			if want {
				require.Equal(t, "1", string(found[0]))
			}
		}
	}
}
