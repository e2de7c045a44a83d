package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemarkhq/tidemark/checkpoint"
	"github.com/tidemarkhq/tidemark/internal/kafka"
)

// submit writes records in a transaction and returns when that is committed: the next one,
// or before the stream has started one of their own. gone are scopes that they give up.
func (k *keeper) submit(ctx context.Context, records []*kgo.Record, gone []checkpoint.Scope) error {
	k.c.mu.Lock()
	started := k.c.mu.started
	k.c.mu.Unlock()
	if !started {
		return k.alone(ctx, records)
	}
	e := k.along(records, gone)
	err := k.c.checkpoint(ctx)
	if err == nil && k.done(e) {
		return nil
	}
	k.withdraw(e)
	return cmp.Or(err, errRewinding)
}

// alone writes records in a transaction of their own, while nobody else writes: before the
// stream has started, and in a rewind, when no checkpoint comes that could take them along.
func (k *keeper) alone(ctx context.Context, records []*kgo.Record) error {
	err := k.write(ctx, records)
	if err == nil {
		err = k.t.writer.Commit(ctx)
	}
	if err != nil {
		return k.again(ctx, err)
	}
	return k.t.next(ctx)
}

// again begins anew after a transaction of records alone that failed, and returns what to say
// of it. An id that was taken from us is taken back, by mistake or not: whoever claims last is
// the owner.
func (k *keeper) again(ctx context.Context, cause error) error {
	err := k.t.writer.Abort(ctx)
	if !errors.Is(err, kafka.ErrFenced) {
		return errors.Join(cause, err, k.t.next(ctx))
	}
	k.c.log.Warnf("The transactional id %q is taken over anew: %v", k.t.id, cause)
	if err := k.takeBack(ctx); err != nil {
		return errors.Join(cause, err)
	}
	return fmt.Errorf("%w: %w", errRewinding, cause)
}

// withdraw takes back what no transaction has taken along.
func (k *keeper) withdraw(e *extra) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.mu.extra = slices.DeleteFunc(k.mu.extra, func(other *extra) bool { return other == e })
}
