package behaviour

import (
	"fmt"
	"os"
	"testing"

	"github.com/tidemarkhq/tidemark/internal/soak"
)

// TestMain writes the verdicts of rounds, where that is asked for.
func TestMain(m *testing.M) {
	code := m.Run()
	if err := soak.Write(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}
