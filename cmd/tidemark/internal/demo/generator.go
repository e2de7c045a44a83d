package demo

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// order is what the generator writes.
type order struct {
	// Order numbers the orders without a gap, over runs.
	Order      int64  `json:"order"`
	Customer   string `json:"customer"`
	Quantity   int    `json:"quantity"`
	PriceCents int    `json:"price_cents"`
}

// generator fills the source topic.
type generator struct {
	client *kgo.Client
	// rate is the number of orders each second; 0 = none.
	rate int
	// next is the number of the next order.
	next int64
}

// pace is the time between two bursts of orders.
const pace = 50 * time.Millisecond

// run generates orders until ctx ends, and returns when those are written.
func (g *generator) run(ctx context.Context) error {
	var failed atomic.Pointer[error]
	ticker := time.NewTicker(pace)
	defer ticker.Stop()
	begun, first := time.Now(), g.next
	for failed.Load() == nil {
		select {
		case <-ctx.Done():
			return g.flush(ctx, &failed)
		case <-ticker.C:
		}
		due := first + int64(time.Since(begun).Seconds()*float64(g.rate))
		for ; g.next < due && ctx.Err() == nil; g.next++ {
			// The bounded buffer of the client holds this back when the broker does.
			g.client.Produce(ctx, g.record(), func(_ *kgo.Record, err error) {
				if err != nil && ctx.Err() == nil {
					failed.CompareAndSwap(nil, &err)
				}
			})
		}
	}
	return g.flush(ctx, &failed)
}

func (g *generator) record() *kgo.Record {
	o := order{
		Order: g.next, Customer: fmt.Sprintf("customer-%d", rand.IntN(100)),
		Quantity: 1 + rand.IntN(9), PriceCents: 100 * (1 + rand.IntN(50)),
	}
	value, _ := json.Marshal(o)
	return &kgo.Record{Topic: source, Key: []byte(o.Customer), Value: value}
}

func (g *generator) flush(ctx context.Context, failed *atomic.Pointer[error]) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if err := g.client.Flush(ctx); err != nil {
		return fmt.Errorf("writing the last generated orders: %w", err)
	}
	if err := failed.Load(); err != nil {
		return fmt.Errorf("generating orders: %w", *err)
	}
	return nil
}
