package demo

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// position is how far the pipeline has come.
type position struct {
	// written and done count the source topic's records.
	written, done int64
	// partitions tells the committed position of each, in order.
	partitions []string
}

// String says where a run starts.
func (p position) String() string {
	if len(p.partitions) == 0 {
		return "First run: starting at the first order."
	}
	return fmt.Sprintf("Resuming at the last checkpoint, after %d of %d orders (%s).", p.done, p.written, strings.Join(p.partitions, ", "))
}

// where asks the broker how far the pipeline has come.
func where(ctx context.Context, client *kgo.Client) (position, error) {
	var p position
	admin := kadm.NewClient(client)
	ends, err := admin.ListEndOffsets(ctx, source)
	if err != nil {
		return p, fmt.Errorf("asking for the end of topic %s: %w", source, err)
	}
	ends.Each(func(o kadm.ListedOffset) {
		if o.Err == nil && o.Offset > 0 {
			p.written += o.Offset
		}
	})
	commits, err := admin.FetchOffsets(ctx, group)
	if err != nil && !errors.Is(err, kerr.GroupIDNotFound) {
		return p, fmt.Errorf("asking for the offsets of group %s: %w", group, err)
	}
	for _, o := range commits.Sorted() {
		if o.Topic == source && o.Err == nil && o.At >= 0 {
			p.done += o.At
			p.partitions = append(p.partitions, fmt.Sprintf("partition %d at %d", o.Partition, o.At))
		}
	}
	return p, nil
}
