package kafka

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Partition is one partition of a topic.
type Partition struct {
	Topic string
	ID    int32
}

// String gives topic/id.
func (p Partition) String() string { return fmt.Sprintf("%s/%d", p.Topic, p.ID) }

// Compare orders partitions by topic and number.
func (p Partition) Compare(q Partition) int {
	return cmp.Or(cmp.Compare(p.Topic, q.Topic), cmp.Compare(p.ID, q.ID))
}

// names lists partitions in order, for messages.
func names(parts []Partition) string {
	parts = slices.Clone(parts)
	slices.SortFunc(parts, Partition.Compare)
	texts := make([]string, len(parts))
	for i, p := range parts {
		texts[i] = p.String()
	}
	return strings.Join(texts, ", ")
}

// byTopic groups partitions the way requests do.
func byTopic(parts []Partition) map[string][]int32 {
	m := make(map[string][]int32)
	for _, p := range parts {
		m[p.Topic] = append(m[p.Topic], p.ID)
	}
	return m
}
