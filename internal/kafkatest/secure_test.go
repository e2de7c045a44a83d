package kafkatest_test

import (
	"testing"

	"github.com/tidemarkhq/tidemark/internal/kafkatest"
)

func TestSecureStarts(t *testing.T) {
	kafkatest.Secure(t)
}
