package kafkatest

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
)

// Shared returns the broker that all tests of this process share, of the newest
// version, started by the first that asks. It cannot be stopped; a test that wants
// to hurt a broker takes Real, or a Proxy in front of this one. Where Kafka cannot
// be had the test is skipped, or fails with CI=true.
func Shared(t testing.TB) Endpoint {
	t.Helper()
	b, err := shared()
	if err != nil {
		giveUp(t, err)
	}
	t.Cleanup(func() { b.logFailure(t) })
	return b
}

var shared = sync.OnceValues(func() (*Broker, error) {
	home, err := claimHome()
	if err != nil {
		return nil, err
	}
	b, err := newBroker(Newest, home, nil)
	if err != nil {
		return nil, err
	}
	return b, b.start()
})

// claimHome returns a new folder that is this process's as long as it lives, and
// removes those of processes that have ended: nobody is told when the last test
// of a process has run.
func claimHome() (string, error) {
	cache, err := cacheDir()
	if err != nil {
		return "", err
	}
	homes := filepath.Join(cache, "run")
	if err := os.MkdirAll(homes, 0o755); err != nil {
		return "", fmt.Errorf("making a folder for the broker: %w", err)
	}
	// A folder must not be taken for an abandoned one before its owner has locked it.
	unlock, err := lockFile(homes+".lock", true)
	if err != nil {
		return "", err
	}
	defer unlock()
	old, err := os.ReadDir(homes)
	if err != nil {
		return "", fmt.Errorf("listing abandoned brokers: %w", err)
	}
	for _, o := range old {
		dir := filepath.Join(homes, o.Name())
		release, err := lockFile(filepath.Join(dir, "lock"), false)
		if err != nil {
			continue
		}
		_ = os.RemoveAll(dir)
		release()
	}
	home, err := os.MkdirTemp(homes, "")
	if err != nil {
		return "", fmt.Errorf("making a folder for the broker: %w", err)
	}
	// Never released: the lock is what says that the folder is in use.
	if _, err := lockFile(filepath.Join(home, "lock"), false); err != nil {
		return "", err
	}
	return home, nil
}
