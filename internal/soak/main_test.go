package soak_test

import (
	"fmt"
	"os"
	"testing"

	"github.com/tidemarkhq/tidemark/internal/soak"
)

func TestMain(m *testing.M) {
	code := m.Run()
	soak.Clean()
	if err := soak.Write(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}
