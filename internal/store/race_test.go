package store

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tidemarkhq/tidemark/checkpoint"
)

// TestReadsBesidePersistSeeOneCheckpoint scans while checkpoints are persisted that
// change every key: what a scan sees is of one checkpoint, and not of one that is
// not acknowledged yet or was replaced before the scan began.
func TestReadsBesidePersistSeeOneCheckpoint(t *testing.T) {
	const keys, last, readers = 20, 40, 2
	d := newHarness(t, retain(2)).open()
	write := func(id checkpoint.ID) error {
		m, _ := step(id)
		var changes []checkpoint.Change
		for k := range keys {
			changes = append(changes, checkpoint.Change{Operator: testOperator, Key: fmt.Append(nil, k), Value: fmt.Appendf(nil, "%d%0512d", id%10, id)})
		}
		_, err := d.Persist(t.Context(), m, changes)
		return err
	}
	require.NoError(t, write(1))
	var begun, acknowledged atomic.Int64
	begun.Store(1)
	acknowledged.Store(1)
	failed := make(chan error, readers) // one per reader, each of which sends once
	var wg sync.WaitGroup
	for range readers {
		wg.Go(func() {
			for acknowledged.Load() < last {
				if err := scanOne(d, keys, acknowledged.Load(), begun.Load); err != nil {
					failed <- err
					return
				}
			}
		})
	}
	for id := checkpoint.ID(2); id <= last; id++ {
		begun.Store(int64(id))
		if err := write(id); err != nil {
			t.Error(err)
			break
		}
		acknowledged.Store(int64(id))
		if id%15 == 0 {
			require.NoError(t, d.engine.db.Flush())
		}
	}
	acknowledged.Store(last)
	wg.Wait()
	close(failed)
	for err := range failed {
		t.Error(err)
	}
	require.NoError(t, d.Close())
}

func scanOne(d *Directory, keys int, least int64, most func() int64) error {
	seen := map[string]int{}
	var value string
	err := d.Scan(testOperator, checkpoint.Scope{}, nil, nil, func(_, v []byte) error {
		value = string(v)
		seen[value]++
		return nil
	})
	if err != nil {
		return err
	}
	if len(seen) != 1 || seen[value] != keys {
		return fmt.Errorf("a scan saw %d checkpoints", len(seen))
	}
	var id int64
	if _, err := fmt.Sscanf(value[1:], "%d", &id); err != nil {
		return err
	}
	if top := most(); id < least || id > top {
		return fmt.Errorf("a scan saw checkpoint %d; %d was acknowledged before and %d begun", id, least, top)
	}
	v, err := d.Get(testOperator, checkpoint.Scope{}, []byte("7"))
	if err == nil && v == nil {
		err = errors.New("a key is gone")
	}
	return err
}

// TestGetWaitsWhileStoreIsRevived reads while a broken store is opened anew.
func TestGetWaitsWhileStoreIsRevived(t *testing.T) {
	d := newHarness(t).open()
	persist(t, d, 1)
	done := make(chan struct{}) // closed when no more is persisted
	failed := make(chan error, 1)
	go func() {
		defer close(failed)
		for {
			select {
			case <-done:
				return
			default:
			}
			if v, err := d.Get(testOperator, testScope, []byte("k03")); err != nil || v == nil {
				failed <- fmt.Errorf("got %q, %w", v, err)
				return
			}
		}
	}()
	id := checkpoint.ID(2)
	for revived := 0; revived < 5; id++ {
		broken := d.engine
		_ = broken.giveUp(errors.New("a test"))
		m, _ := step(id)
		// While a read is under way the store is not exchanged; the next time it is.
		if _, err := d.Persist(t.Context(), m, nil); err == nil {
			require.NotSame(t, broken, d.engine)
			revived++
		}
	}
	close(done)
	require.NoError(t, <-failed)
	require.NoError(t, d.Close())
}
