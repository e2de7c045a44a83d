package kafkatest

import (
	"errors"
	"hash/maphash"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"
)

// Until calls check on the test's goroutine until it returns nil, and fails the
// test with its last error once within has passed. It is for what cannot be
// waited for by a signal.
func Until(t testing.TB, within time.Duration, check func() error) {
	t.Helper()
	if err := poll(within, check); err != nil {
		t.Fatalf("after %v: %v", within, err)
	}
}

// Eventually is Until for a condition that needs no words but what.
func Eventually(t testing.TB, within time.Duration, what string, check func() bool) {
	t.Helper()
	Until(t, within, func() error {
		if !check() {
			return errors.New("not so: " + what)
		}
		return nil
	})
}

// poll calls check until it returns nil or within has passed, at first every
// 2 ms, later every 50 ms, and returns its last error.
func poll(within time.Duration, check func() error) error {
	end := time.Now().Add(within)
	for pause := 2 * time.Millisecond; ; pause = min(2*pause, 50*time.Millisecond) {
		err := check()
		if err == nil || !time.Now().Before(end) {
			return err
		}
		time.Sleep(pause)
	}
}

// Random returns a source of random numbers for this test, and logs how to have
// the same numbers again. Its seed is $TIDEMARK_SEED, else a new one each time.
func Random(t testing.TB) *rand.Rand {
	t.Helper()
	seed := new(maphash.Hash).Sum64()
	if s := os.Getenv("TIDEMARK_SEED"); s != "" {
		n, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			t.Fatalf("reading TIDEMARK_SEED: %v", err)
		}
		seed = n
	}
	t.Logf("seed %d; again with TIDEMARK_SEED=%d go test -run '^%s$'", seed, seed, t.Name())
	return rand.New(rand.NewPCG(seed, 0))
}
