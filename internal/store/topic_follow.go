package store

import (
	"context"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/tidemarkhq/tidemark/internal/kafka"
)

// follow takes in what is committed in a home up to the end of a range. Without wait it
// stops at the first open transaction.
func (t *Topic) follow(ctx context.Context, h *home, in kafka.Range, wait bool) error {
	from, _ := h.progress()
	ctx, cancel := context.WithCancel(ctx)
	f := &follower{t: t, home: h, end: in.End, wait: wait, at: max(from, in.Start), answers: make(chan kafka.Fetched, 1)}
	go f.fetch(ctx)
	intake := t.newIntake(h)
	var err error
	for got := range f.answers {
		if err == nil {
			if err = intake.take(got.Records, got.Next); err != nil {
				cancel()
			}
		}
	}
	cancel()
	if err == nil {
		err = f.err
	}
	if errors.Is(err, kerr.OffsetOutOfRange) {
		h.forget()
		err = fmt.Errorf("the log was cut off while it was read; it is read from its start next time: %w", err)
	}
	return err
}

// follower fetches ahead of the goroutine that takes the records in.
type follower struct {
	t    *Topic
	home *home
	end  int64
	wait bool
	at   int64
	// answers come from fetch, which closes it; one is fetched while another is taken in.
	answers chan kafka.Fetched
	// err is why fetch ended early; to be read once answers is closed.
	err error
}

func (f *follower) fetch(ctx context.Context) {
	defer close(f.answers)
	conf := kafka.Log{Partition: f.t.partition(f.home.id), Isolation: kafka.ReadCommitted, MaxBytes: readBytes}
	log := kafka.NewLog(f.t.client, conf)
	stable := NoOffset
	for f.at < f.end {
		got, err := log.Fetch(ctx, f.at)
		if err != nil {
			f.err = f.ended(ctx, stable, err)
			return
		}
		still := got.Next == f.at
		stable, f.at = got.LastStable, got.Next
		if still && stable <= f.at && !f.wait {
			return
		}
		// The first answer comes at once, so that it is known what is waited for.
		if log.Wait = 0; still {
			log.Wait = readWait
		}
		select {
		case f.answers <- got:
		case <-ctx.Done():
			f.err = f.ended(ctx, stable, ctx.Err())
			return
		}
	}
}

// ended says why fetching ended, given the last stable offset that was seen.
func (f *follower) ended(ctx context.Context, stable int64, err error) error {
	if ctx.Err() != nil && stable >= 0 && stable <= f.at && f.at < f.end {
		return &BlockedError{
			Topic: f.t.conf.Topic, Partition: f.home.id, LastStable: stable, HighWatermark: f.end, Cause: context.Cause(ctx),
		}
	}
	return err
}

// progress returns where the reading of a home goes on, and up to where its log is known to
// have been.
func (h *home) progress() (from, known int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	from, known = h.next, h.next
	for _, n := range h.scopes {
		known = max(known, n.upTo)
		if n.reading {
			from = min(from, max(n.upTo, 0))
		}
	}
	return from, known
}

// forget makes the next reading of a home start over.
func (h *home) forget() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.next = 0
	for _, n := range h.scopes {
		n.upTo = NoOffset
	}
}
