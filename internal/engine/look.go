package engine

import (
	"context"
	"errors"
	"maps"
	"time"

	"github.com/tidemarkhq/tidemark/checkpoint"
	"github.com/tidemarkhq/tidemark/internal/store"
)

// starts says where scopes begin that nobody has taken a checkpoint of.
func (k *keeper) starts(ctx context.Context, scopes []checkpoint.Scope, resolve resolveFunc) (checkpoint.Positions, error) {
	// Whoever holds this up, what is not seen now is seen later, and counts then.
	histories, err := k.readClaims(ctx, lookPatience, scopes)
	if err != nil && !isBlocked(err) {
		return nil, err
	}
	saved := checkpoint.Positions{}
	var fresh []checkpoint.Partition
	for _, s := range scopes {
		switch last := histories[s].Last; {
		case last != nil && last.Position != nil:
			saved[s] = *last.Position
		case s != checkpoint.Scope{}:
			fresh = append(fresh, s)
		}
	}
	if resolve == nil {
		return saved, nil
	}
	found, err := resolve(ctx, saved, fresh)
	if err != nil {
		return nil, err
	}
	maps.Copy(saved, found)
	return saved, nil
}

// lookPatience is how long a first look waits for transactions of others.
const lookPatience = time.Second

// readClaims reads what there is about scopes. It waits no longer than patience for
// transactions of others, but reads for as long as the log takes.
func (k *keeper) readClaims(
	ctx context.Context, patience time.Duration, scopes []checkpoint.Scope,
) (found map[checkpoint.Scope]store.History, err error) {
	err = patiently(ctx, patience, func(ctx context.Context) error {
		found, err = k.topic.ReadClaims(ctx, scopes)
		return err
	})
	return found, err
}

// patiently reads, and again for twice as long each time that was not enough: but only once
// if transactions of others are what it waits for.
func patiently(ctx context.Context, patience time.Duration, read func(context.Context) error) error {
	for {
		bounded, cancel := context.WithTimeout(ctx, patience)
		err := read(bounded)
		over := bounded.Err() != nil
		cancel()
		if err == nil || !over || isBlocked(err) || ctx.Err() != nil {
			return err
		}
		patience *= 2
	}
}

func isBlocked(err error) bool {
	var blocked *store.BlockedError
	return errors.As(err, &blocked)
}

// restoreEverywhere does not wait for those who may have died with a transaction open: they
// are fenced later. What theirs say of this is what each process says of itself anew.
func (k *keeper) restoreEverywhere(ctx context.Context) error {
	scopes := []checkpoint.Scope{checkpoint.Everywhere}
	err := patiently(ctx, lookPatience, func(ctx context.Context) error {
		_, err := k.topic.Restore(ctx, scopes)
		return err
	})
	if isBlocked(err) && ctx.Err() == nil {
		_, err = k.topic.RestoreStable(ctx, scopes)
	}
	return err
}

// prepare brings in the state that is no partition's.
func (k *keeper) prepare(ctx context.Context) error {
	if err := k.restoreEverywhere(ctx); err != nil {
		return err
	}
	// Also without any operator: resources such as caches join when they are first used,
	// which is later.
	whole := true
	k.c.mu.Lock()
	for _, s := range k.c.mu.sources {
		whole = whole && partial(s.conf) == ""
	}
	k.c.mu.Unlock()
	if !whole {
		return nil
	}
	_, err := k.acquire(ctx, []checkpoint.Scope{{}}, nil)
	return err
}
