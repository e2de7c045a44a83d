package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tidemarkhq/tidemark/checkpoint"
)

func TestFreshStoreHasNoCheckpoint(t *testing.T) {
	h := newHarness(t)
	d := h.open()
	_, err := d.Load(context.Background())
	require.ErrorIs(t, err, checkpoint.ErrNoCheckpoint)
	value, err := d.Get(testOperator, testScope, []byte("k"))
	require.NoError(t, err)
	require.Nil(t, value)
	list, err := d.List(context.Background())
	require.NoError(t, err)
	require.Empty(t, list)
	require.Zero(t, d.LastID())
	require.NoError(t, d.Close())

	d = h.open()
	_, err = d.Load(context.Background())
	require.ErrorIs(t, err, checkpoint.ErrNoCheckpoint)
	require.NoError(t, d.Close())
}

func TestPersistIsReadBackAfterReopening(t *testing.T) {
	for name, change := range map[string]func(*Options){
		"memory": func(*Options) {}, "disk": in(filepath.Join(t.TempDir(), "not", "there", "yet")),
	} {
		t.Run(name, func(t *testing.T) {
			h := newHarness(t, change)
			for id := checkpoint.ID(1); id <= 20; id++ {
				d := h.open()
				require.Equal(t, id-1, d.LastID())
				requireContent(t, d, contentAt(id-1))
				m, changes := step(id)
				m.Final = id%2 == 0
				n, err := d.Persist(context.Background(), m, changes)
				require.NoError(t, err)
				require.Positive(t, n)
				requireContent(t, d, contentAt(id))
				require.NoError(t, d.Close())

				d = h.open()
				got, err := d.Load(context.Background())
				require.NoError(t, err)
				require.Equal(t, m, got)
				require.NoError(t, d.Close())
			}
		})
	}
}

func TestLaterChangeOfAKeyWinsAndEmptyIsNotNil(t *testing.T) {
	h := newHarness(t)
	d := h.open()
	m, _ := step(1)
	change := func(key string, value []byte) checkpoint.Change {
		return checkpoint.Change{Operator: testOperator, Key: []byte(key), Value: value}
	}
	_, err := d.Persist(context.Background(), m, []checkpoint.Change{
		change("a", []byte("1")), change("a", []byte("2")),
		change("b", []byte("1")), change("b", nil), change("c", nil), change("c", []byte{}),
	})
	require.NoError(t, err)
	a, err := d.Get(testOperator, checkpoint.Scope{}, []byte("a"))
	require.NoError(t, err)
	require.Equal(t, []byte("2"), a)
	b, err := d.Get(testOperator, checkpoint.Scope{}, []byte("b"))
	require.NoError(t, err)
	require.Nil(t, b)
	c, err := d.Get(testOperator, checkpoint.Scope{}, []byte("c"))
	require.NoError(t, err)
	require.NotNil(t, c)
	require.Empty(t, c)
	require.NoError(t, d.Close())
}

func TestLoadedManifestIsTheCallers(t *testing.T) {
	h := newHarness(t)
	d := h.open()
	persist(t, d, 1)
	m, err := d.Load(context.Background())
	require.NoError(t, err)
	clear(m.Positions)
	requireContent(t, d, contentAt(1))
	require.NoError(t, d.Close())
}

func TestScanKeepsToScopeAndPrefixAndStops(t *testing.T) {
	h := newHarness(t)
	d := h.open()
	m, _ := step(1)
	var changes []checkpoint.Change
	put := func(operator string, s checkpoint.Scope, keys ...string) {
		for _, k := range keys {
			changes = append(changes, checkpoint.Change{Operator: operator, Scope: s, Key: []byte(k), Value: []byte(operator + k)})
		}
	}
	s := checkpoint.Scope{Topic: "t", ID: 1}
	put("a", s, "x", "x\xff", "x\xff\xff", "x\x00", "y", "")
	put("a", checkpoint.Scope{Topic: "t", ID: 2}, "x")
	put("a", checkpoint.Scope{Source: "t", ID: 1}, "x")
	put("a\x00", s, "x")
	put("", s, "x")
	_, err := d.Persist(context.Background(), m, changes)
	require.NoError(t, err)
	keys := func(operator string, prefix string, from ...byte) (got []string) {
		require.NoError(t, d.Scan(operator, s, []byte(prefix), from, func(k, v []byte) error {
			require.Equal(t, operator+string(k), string(v))
			got = append(got, string(k))
			return nil
		}))
		return got
	}
	require.Equal(t, []string{"x", "x\x00", "x\xff", "x\xff\xff"}, keys("a", "x"))
	require.Equal(t, []string{"x\xff", "x\xff\xff"}, keys("a", "x\xff"))
	require.Equal(t, []string{"x\xff", "x\xff\xff"}, keys("a", "x", 'x', 1))
	require.Equal(t, []string{"x", "x\x00", "x\xff", "x\xff\xff"}, keys("a", "x", 'a'))
	require.Empty(t, keys("a", "x", 'z'))
	require.Equal(t, []string{"", "x", "x\x00", "x\xff", "x\xff\xff", "y"}, keys("a", ""))
	require.Equal(t, []string{"x"}, keys("a\x00", ""))
	require.Empty(t, keys("b", ""))
	stop := errors.New("stop")
	require.Equal(t, stop, d.Scan("a", s, nil, nil, func(_, _ []byte) error { return stop }))
	require.NoError(t, d.Close())
}

func TestIDsAreNotUsedTwice(t *testing.T) {
	h := newHarness(t)
	d := h.open()
	persist(t, d, 1, 2, 3)
	for _, id := range []checkpoint.ID{-1, 0, 2, 3} {
		err := tryPersist(d, id)
		require.ErrorContains(t, err, "not above 3")
	}
	m, _ := step(4)
	m.Job = "other"
	_, err := d.Persist(context.Background(), m, nil)
	require.ErrorIs(t, err, ErrOtherJob)
	requireContent(t, d, contentAt(3))
	require.NoError(t, d.Close())
}

func TestCancelledPersistChangesNothing(t *testing.T) {
	h := newHarness(t)
	d := h.open()
	persist(t, d, 1)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	m, changes := step(2)
	_, err := d.Persist(ctx, m, changes)
	require.ErrorIs(t, err, context.Canceled)
	persist(t, d, 2)
	requireContent(t, d, contentAt(2))
	require.NoError(t, d.Close())
}

func TestJobIsKept(t *testing.T) {
	h := newHarness(t, func(o *Options) { o.Job = "" })
	d := h.open()
	invented := d.Job()
	require.True(t, strings.HasPrefix(invented, "job-"), invented)
	m, _ := step(1)
	m.Job = invented
	_, err := d.Persist(context.Background(), m, nil)
	require.NoError(t, err)
	require.NoError(t, d.Close())

	d = h.open()
	require.Equal(t, invented, d.Job())
	require.NoError(t, d.Close())
	d = h.open(func(o *Options) { o.Job = invented })
	require.NoError(t, d.Close())

	_, err = h.tryOpen(func(o *Options) { o.Job = "payments" })
	require.ErrorIs(t, err, ErrOtherJob)
	require.ErrorIs(t, err, checkpoint.ErrFatal)
	require.ErrorContains(t, err, invented)
	require.ErrorContains(t, err, `"payments"`)
}

func TestStoreWithoutCheckpointIsAdopted(t *testing.T) {
	h := newHarness(t)
	require.NoError(t, h.open().Close())
	d := h.open(func(o *Options) { o.Job = "payments"; o.Share.Shard = checkpoint.Shard{Index: 1, Count: 2} })
	require.Equal(t, "payments", d.Job())
	require.NoError(t, d.Close())
}

func TestOtherShareIsRefused(t *testing.T) {
	share := func(index, count int, partitions ...string) func(*Options) {
		return func(o *Options) { o.Share = Share{checkpoint.Shard{Index: index, Count: count}, partitions} }
	}
	all := share(0, 0)
	tests := map[string]struct {
		written, opened func(*Options)
		message         string
	}{
		"other shard":      {share(0, 2), share(1, 2), "written for shard 0 of 2 of all partitions and is opened for shard 1 of 2"},
		"other count":      {share(0, 2), share(0, 3), "shard 0 of 2 of all partitions and is opened for shard 0 of 3"},
		"shard to all":     {share(0, 2), all, "opened for all partitions"},
		"other partitions": {share(0, 0, "a:0", "a:1"), share(0, 0, "a:0"), "partitions a:0, a:1 and is opened for partitions a:0;"},
		"partitions added": {all, share(0, 0, "a:0"), "all partitions and is opened for partitions a:0;"},
		"order":            {share(0, 0, "a:0", "a:1"), share(0, 0, "a:1", "a:0"), ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			h := newHarness(t)
			d := h.open(test.written)
			persist(t, d, 1)
			require.NoError(t, d.Close())
			d, err := h.tryOpen(test.opened)
			if test.message == "" {
				require.NoError(t, err)
				require.NoError(t, d.Close())
				return
			}
			require.ErrorIs(t, err, ErrOtherShare)
			require.ErrorIs(t, err, checkpoint.ErrFatal)
			require.ErrorContains(t, err, test.message)
			require.ErrorContains(t, err, "savepoint")
			d = h.open(test.written)
			requireContent(t, d, contentAt(1))
			require.NoError(t, d.Close())
		})
	}
}

func TestLockedStoreNamesItsHolder(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	directory := t.TempDir()
	link := filepath.Join(t.TempDir(), "link")
	require.NoError(t, os.Symlink(directory, link))
	h := newHarness(t, in(directory), func(o *Options) { o.Now = func() time.Time { return now } })
	d := h.open()
	for _, path := range []string{directory, link} {
		_, err := h.tryOpen(in(path))
		require.ErrorIs(t, err, checkpoint.ErrLocked)
		require.NotErrorIs(t, err, checkpoint.ErrFatal)
		require.ErrorContains(t, err, "2026-01-02T03:04:05Z")
	}
	persist(t, d, 1)
	require.NoError(t, d.Close())
	d = h.open()
	requireContent(t, d, contentAt(1))
	require.NoError(t, d.Close())
}

func TestOptionsReportEveryFault(t *testing.T) {
	_, err := Open(context.Background(), Options{Retain: -1, RestoreFrom: -2, Share: Share{Shard: checkpoint.Shard{Index: 3, Count: 2}}})
	require.ErrorIs(t, err, checkpoint.ErrFatal)
	for _, part := range []string{"checkpoint.store.directory is empty", "checkpoint.retain is -1", "checkpoint.restore_from is -2", "shard.index is 3"} {
		require.ErrorContains(t, err, part)
	}
}

func TestClosedStoreIsReadByNobody(t *testing.T) {
	d := newHarness(t).open()
	persist(t, d, 1)
	require.NoError(t, d.Close())
	_, err := d.Get(testOperator, testScope, nil)
	require.ErrorIs(t, err, errClosed)
	require.ErrorIs(t, tryPersist(d, 2), errClosed)
	require.NoError(t, d.Close())
}

// A build that is killed closes its store while processors may still read: nothing is
// pulled away under a read.
func TestCloseWaitsForReads(t *testing.T) {
	d := newHarness(t).open()
	persist(t, d, 1)
	reading, goOn := make(chan struct{}), make(chan struct{})
	read := make(chan error, 1)
	go func() {
		n := 0
		err := d.Scan(testOperator, testScope, nil, nil, func(_, _ []byte) error {
			if n++; n == 1 {
				close(reading)
				<-goOn
			}
			return nil
		})
		if err == nil && n < 2 {
			err = fmt.Errorf("%d keys read", n)
		}
		read <- err
	}()
	<-reading
	closed := make(chan error, 1)
	go func() { closed <- d.Close() }()
	require.Eventually(t, func() bool {
		_, err := d.Get(testOperator, testScope, []byte("k03"))
		return errors.Is(err, errClosed)
	}, 5*time.Second, time.Millisecond, "no other read begins")
	require.Empty(t, closed)
	close(goOn)
	require.NoError(t, <-read)
	require.NoError(t, <-closed)
}

func TestDirectoryThatCannotBeMadeIsNotFatal(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	_, err := newHarness(t, in(filepath.Join(file, "store"))).tryOpen()
	require.Error(t, err)
	require.NotErrorIs(t, err, checkpoint.ErrFatal)
}
