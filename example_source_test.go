package tidemark_test

import (
	"context"
	"sync"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"

	"github.com/tidemarkhq/tidemark"
	"github.com/tidemarkhq/tidemark/checkpoint"
)

// words is an input that emits a list of words, one after the other, as its only
// partition.
type words struct {
	list   []string
	handle checkpoint.SourceHandle

	mu     sync.Mutex
	next   int
	prefix *checkpoint.Prefix
}

var wordList = checkpoint.Partition{Topic: "words"}

func newWords(conf *service.ParsedConfig, res *service.Resources) (service.BatchInput, error) {
	all, err := conf.FieldStringList("list")
	if err != nil {
		return nil, err
	}
	directory, err := conf.FieldString("directory")
	if err != nil {
		return nil, err
	}
	w := &words{list: all, prefix: checkpoint.NewPrefix(0)}
	w.handle, err = tidemark.Coordinator(res).JoinSource("words", w, checkpoint.Config{
		Interval: time.Second, TolerableFailures: -1, Directory: directory, Static: true, Sets: true,
	})
	return w, err
}

// Connect implements service.BatchInput: it goes on where the last checkpoint
// says.
func (w *words) Connect(ctx context.Context) error {
	from, err := w.handle.Restore(ctx)
	if err != nil {
		return err
	}
	return w.Rewind(ctx, from.Positions)
}

// ReadBatch implements service.BatchInput. The batch is in the ledger before it
// leaves, and out of it after its acknowledgement has moved the position.
func (w *words) ReadBatch(ctx context.Context) (service.MessageBatch, service.AckFunc, error) {
	if w.over() {
		return nil, nil, service.ErrEndOfInput
	}
	entry, err := w.handle.Enter(ctx, wordList)
	if err != nil {
		return nil, nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	at := w.next
	w.next++
	span := w.prefix.Open(checkpoint.Offset(w.next))
	origin := &checkpoint.Origin{Context: context.Background(), Entry: entry, Offset: checkpoint.Offset(at)}
	msg := service.NewMessage([]byte(w.list[at])).WithContext(origin)
	return service.MessageBatch{msg}, w.ackFunc(entry, span), nil
}

func (w *words) over() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.next == len(w.list)
}

func (w *words) ackFunc(entry *checkpoint.Entry, span *checkpoint.Span) service.AckFunc {
	return func(_ context.Context, err error) error {
		if err != nil {
			w.handle.Fail(err) // Everybody goes back, and it is read again.
		} else if entry.State() == checkpoint.Live {
			w.mu.Lock()
			w.prefix.Done(span)
			w.mu.Unlock()
		}
		w.handle.Leave(entry, err)
		return nil
	}
}

// Close implements service.BatchInput: shutdown is a checkpoint.
func (w *words) Close(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	return w.handle.Close(ctx)
}

// Positions implements checkpoint.Source.
func (w *words) Positions() checkpoint.Positions {
	w.mu.Lock()
	defer w.mu.Unlock()
	return checkpoint.Positions{wordList: {
		Next: w.prefix.Position(), LeaderEpoch: checkpoint.UnknownEpoch, Stop: checkpoint.Unbounded,
	}}
}

// Commit implements checkpoint.Source. There is nobody to tell.
func (w *words) Commit(context.Context, *checkpoint.Manifest) error { return nil }

// Rewind implements checkpoint.Source.
func (w *words) Rewind(_ context.Context, to checkpoint.Positions) error {
	mine := wordList
	mine.Source = "words"
	w.mu.Lock()
	defer w.mu.Unlock()
	w.next = int(to[mine].Next)
	w.prefix.Reset(to[mine].Next)
	return nil
}
