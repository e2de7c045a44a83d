package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// startupResult is how long it takes from the start of the process until the
// first record is in the output topic.
type startupResult struct {
	Environment environment  `json:"environment"`
	Systems     []startupRow `json:"systems"`
	Goals       []goal       `json:"goals"`
}

type startupRow struct {
	System string `json:"system"`
	// Millis has one value for each start, in order.
	Millis []float64 `json:"millis"`
	Spread spread    `json:"spread"`
}

// startup starts each system a number of times, one after the other.
func (b *bench) startup(ctx context.Context, env environment, systems []system, repetitions int) (startupResult, error) {
	result := startupResult{Environment: env}
	l := load{Records: 1000, ValueBytes: 100}
	if _, err := b.fill(ctx, l); err != nil {
		return result, err
	}
	result.Systems = make([]startupRow, len(systems))
	// The first consumer of a broker waits for the topics that groups need.
	if _, err := b.firstRecord(ctx, systems[0], l); err != nil {
		return result, fmt.Errorf("warming up: %w", err)
	}
	for i := range repetitions {
		for j, s := range systems {
			took, err := b.firstRecord(ctx, s, l)
			if err != nil {
				return result, fmt.Errorf("starting with %s: %w", s.name, err)
			}
			progress("start %d of %d, %s: %v", i+1, repetitions, s.name, took.Round(time.Millisecond))
			row := &result.Systems[j]
			row.System = s.name
			row.Millis = append(row.Millis, float64(took.Microseconds())/1000)
		}
	}
	for j := range result.Systems {
		row := &result.Systems[j]
		row.Spread = spreadOf(row.Millis)
		result.Goals = append(result.Goals, atMost("ms to the first record at most, "+row.System, row.Spread.Max, 1000))
	}
	return result, nil
}

// firstRecord starts a system and returns when its first record arrived.
func (b *bench) firstRecord(ctx context.Context, s system, l load) (took time.Duration, err error) {
	r, err := b.newRoute(ctx, l.topic())
	if err != nil {
		return 0, err
	}
	from := map[int32]kgo.Offset{}
	for p := range int32(partitions) {
		from[p] = kgo.NewOffset().At(0)
	}
	cl, err := kgo.NewClient(append(b.kafka.ClientOptions(),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{r.Out: from}), kgo.FetchMaxWait(100*time.Millisecond))...)
	if err != nil {
		return 0, fmt.Errorf("making a consumer: %w", err)
	}
	defer cl.Close()
	// The consumer has to be waiting before there is something to see.
	early, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
	cl.PollFetches(early)
	cancel()

	c, err := b.start(s, r)
	if err != nil {
		return 0, err
	}
	defer c.kill()
	waiting, cancel := context.WithTimeout(ctx, b.stall)
	defer cancel()
	fetches := cl.PollFetches(waiting)
	took = time.Since(c.start)
	if err := fetches.Err(); err != nil {
		return 0, errors.Join(fmt.Errorf("waiting for the first record: %w", err), c.ended())
	}
	if err := c.stop(); err != nil {
		return 0, err
	}
	return took, b.forget(ctx, r)
}

func (r startupResult) markdown() string {
	var s strings.Builder
	fmt.Fprintf(&s, "# Time to the first record\n\n%s\n", r.Environment.markdown())
	fmt.Fprintf(&s, "From the start of the process to the first record in the output topic, each start with a new group, after one that "+
		"does not count; %d starts each, minimum / **median** / maximum.\n\n",
		len(r.Systems[0].Millis))
	var rows [][]string
	for _, w := range r.Systems {
		rows = append(rows, []string{w.System, w.Spread.format(0)})
	}
	s.WriteString(table([]string{"", "ms"}, rows) + "\n" + goalTable(r.Goals))
	return s.String()
}
