package buffer

import (
	"context"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/require"

	"github.com/tidemarkhq/tidemark/internal/kafkatest"
)

// result is an emission of some keys, told apart by a number.
func result(n int, keys ...string) emission {
	return emission{batch: service.MessageBatch{service.NewMessage([]byte(strconv.Itoa(n)))}, keys: keys}
}

func number(t testing.TB, e emission) int {
	t.Helper()
	b, err := e.batch[0].AsBytes()
	require.NoError(t, err)
	n, err := strconv.Atoi(string(b))
	require.NoError(t, err)
	return n
}

// taker takes in the background, as the pipeline does.
type taker struct {
	q    *queue
	over chan struct{}
	got  chan emission // unbuffered: nothing is taken that nobody waits for
	err  chan error
}

func newTaker(t testing.TB) *taker {
	t.Helper()
	tk := &taker{q: newQueue(), over: make(chan struct{}), got: make(chan emission), err: make(chan error, 1)}
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	go func() {
		for {
			e, err := tk.q.take(ctx, tk.over)
			if err != nil {
				tk.err <- err
				return
			}
			select {
			case tk.got <- e:
			case <-ctx.Done():
				return
			}
		}
	}()
	return tk
}

// next returns what may go now; nil if it has to wait for something.
func (tk *taker) next() *emission {
	synctest.Wait()
	select {
	case e := <-tk.got:
		return &e
	default:
		return nil
	}
}

func TestResultsOfAKeyDoNotOvertake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tk := newTaker(t)
		put := func(e emission) { require.NoError(t, tk.q.put(t.Context(), e)) }
		put(result(1, "a", "b"))
		put(result(2, "c"))
		put(result(3, "b", "c"))
		put(result(4, "d"))
		put(result(5))
		first, second := tk.next(), tk.next()
		require.Equal(t, []int{1, 2}, []int{number(t, *first), number(t, *second)}, "of other keys")
		require.Nil(t, tk.next(), "b and c are under way")
		tk.q.done(*second)
		require.Nil(t, tk.next(), "b is still under way")
		tk.q.done(*first)
		third := tk.next()
		require.Equal(t, 3, number(t, *third))
		require.Equal(t, 4, number(t, *tk.next()))
		require.Equal(t, 5, number(t, *tk.next()), "late and failed messages have no key, and wait for nobody's")
		tk.q.done(*third)
		require.Empty(t, tk.q.mu.busy["b"])
	})
}

// A batch may have several windows of one key. All of them are answered at once.
func TestAKeySeveralTimesInABatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tk := newTaker(t)
		require.NoError(t, tk.q.put(t.Context(), result(1, "a", "a", "b", "a")))
		require.NoError(t, tk.q.put(t.Context(), result(2, "a")))
		first := tk.next()
		require.NotNil(t, first)
		require.Nil(t, tk.next())
		tk.q.done(*first)
		require.Equal(t, 2, number(t, *tk.next()))
	})
}

// At the end all that is there leaves, also what has to wait; only then is the end told.
// That what left is answered, Benthos waits for by itself.
func TestEndOfTheQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tk := newTaker(t)
		for n := range 3 {
			require.NoError(t, tk.q.put(t.Context(), result(n, "a")))
		}
		close(tk.over)
		for n := range 3 {
			e := tk.next()
			require.NotNil(t, e, "%d leaves", n)
			require.Equal(t, n, number(t, *e))
			require.Nil(t, tk.next())
			require.Len(t, tk.err, n/2, "the end is behind the last one")
			tk.q.done(*e)
		}
		synctest.Wait()
		require.ErrorIs(t, <-tk.err, service.ErrEndOfBuffer)
	})
}

func TestTheEndOfAnEmptyQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tk := newTaker(t)
		synctest.Wait()
		require.Empty(t, tk.err)
		close(tk.over)
		require.ErrorIs(t, <-tk.err, service.ErrEndOfBuffer)
	})
}

// Whoever waits for the pipeline, on either side, is let go when its context ends, and
// nothing gets lost by that.
func TestCancelledWhileTheHeadWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q, over := newQueue(), make(chan struct{})
		for n := range 2 {
			require.NoError(t, q.put(t.Context(), result(n, "a")))
		}
		first, err := q.take(t.Context(), over)
		require.NoError(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		_, err = q.take(ctx, over)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		q.done(first)
		again, err := q.take(t.Context(), over)
		require.NoError(t, err)
		require.Equal(t, 1, number(t, again))

		ctx, cancel = context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		_, err = q.take(ctx, over)
		require.ErrorIs(t, err, context.DeadlineExceeded, "an empty one waits as well")
		for n := range queueSize {
			require.NoError(t, q.put(t.Context(), result(n)))
		}
		ctx, cancel = context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		require.ErrorIs(t, q.put(ctx, result(99)), context.DeadlineExceeded, "and so does a full one")
	})
}

// With many threads nobody is forgotten, and every key's results are answered in order. If
// a wake-up were lost, all would wait for each other, which a bubble reports.
func TestQueueWithManyThreads(t *testing.T) {
	r := kafkatest.Random(t)
	const results, threads = 3000, 4
	var all []emission
	for n := range results {
		var keys []string
		for range r.IntN(4) {
			keys = append(keys, string(rune('a'+r.IntN(6))))
		}
		all = append(all, result(n, keys...))
	}
	pauses := make([]time.Duration, results)
	for n := range pauses {
		pauses[n] = time.Duration(r.IntN(3)) * time.Millisecond
	}
	synctest.Test(t, func(t *testing.T) {
		tk := newTaker(t)
		go func() {
			for _, e := range all {
				_ = tk.q.put(context.Background(), e)
			}
			close(tk.over)
		}()
		var mu sync.Mutex
		underWay, last := map[string]int{}, map[string]int{}
		var threadsDone sync.WaitGroup
		seen := 0
		for range threads {
			threadsDone.Go(func() {
				for {
					var e emission
					select {
					case e = <-tk.got:
					case err := <-tk.err:
						tk.err <- err // for the others
						return
					}
					n := number(t, e)
					mu.Lock()
					seen++
					for _, k := range e.keys {
						if by, is := underWay[k]; is && by != n || n < last[k] {
							t.Errorf("result %d of key %s overtakes", n, k)
						}
						underWay[k], last[k] = n, n
					}
					mu.Unlock()
					time.Sleep(pauses[n]) // virtual
					mu.Lock()
					for _, k := range e.keys {
						delete(underWay, k)
					}
					mu.Unlock()
					tk.q.done(e)
				}
			})
		}
		threadsDone.Wait()
		require.Equal(t, results, seen)
		require.Empty(t, tk.q.mu.busy)
	})
}
