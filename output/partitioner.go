package output

import (
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/twmb/franz-go/pkg/kgo"
)

// The names of the partitioners that are always there.
const (
	murmur2     = "murmur2_hash"
	sticky      = "sticky"
	roundRobin  = "round_robin"
	leastBackup = "least_backup"
	fixed       = "fixed"
	manual      = "manual"
)

var builtInPartitioners = []string{murmur2, sticky, roundRobin, leastBackup, fixed, manual}

// registered holds the partitioners of this build. It belongs to the process, as
// Benthos's own registry of components does.
var registered = struct {
	sync.RWMutex
	byName map[string]func() kgo.Partitioner
}{byName: make(map[string]func() kgo.Partitioner)}

// RegisterPartitioner adds a partitioner that configurations can name in the
// field `partitioner`. construct is called once for every output that does.
//
// The name must have a dot, such as acme.by_region, so that it never clashes with
// a partitioner of a later version. It is an error if the name is taken.
//
// Call it from an init function. A partitioner may look at the key, the value,
// the headers, the timestamp and the topic of a record, and must not keep it.
func RegisterPartitioner(name string, construct func() kgo.Partitioner) error {
	if !strings.Contains(name, ".") || strings.ContainsAny(name, " \t\n") {
		return fmt.Errorf("registering partitioner %q: its name must have a dot and no space, such as acme.by_region", name)
	}
	if construct == nil {
		return fmt.Errorf("registering partitioner %q: its constructor is nil", name)
	}
	registered.Lock()
	defer registered.Unlock()
	if _, taken := registered.byName[name]; taken {
		return fmt.Errorf("registering partitioner %q: there is one of that name already", name)
	}
	registered.byName[name] = construct
	return nil
}

func lookupPartitioner(name string) (func() kgo.Partitioner, bool) {
	registered.RLock()
	defer registered.RUnlock()
	construct, ok := registered.byName[name]
	return construct, ok
}

func checkPartitioner(name string) error {
	if slices.Contains(builtInPartitioners, name) {
		return nil
	}
	if _, ok := lookupPartitioner(name); ok {
		return nil
	}
	return fmt.Errorf("partitioner %q is unknown: use %s, or one that this build has registered",
		name, strings.Join(builtInPartitioners, ", "))
}

func (p *ProducerConfig) partitionerName() string {
	if p.Partitioner == "" {
		return murmur2
	}
	return p.Partitioner
}

func (p *ProducerConfig) partitioner() kgo.Partitioner {
	switch name := p.partitionerName(); name {
	case murmur2:
		return kgo.StickyKeyPartitioner(nil)
	case sticky:
		return kgo.StickyPartitioner()
	case roundRobin:
		return kgo.RoundRobinPartitioner()
	case leastBackup:
		return kgo.LeastBackupPartitioner()
	case fixed:
		return fixedPartitioner(deref(p.WriterIndex))
	case manual:
		return kgo.ManualPartitioner()
	default:
		construct, _ := lookupPartitioner(name)
		return construct()
	}
}

// fixedPartitioner writes everything to the partition index modulo the number of
// partitions that a topic has at first. Partitions that are added later do not
// change it: a writer that moved would break the order of what it writes.
func fixedPartitioner(index int) kgo.Partitioner {
	return kgo.BasicConsistentPartitioner(func(string) func(*kgo.Record, int) int {
		first := -1
		return func(_ *kgo.Record, partitions int) int {
			if first < 0 {
				first = index % partitions
			}
			return first
		}
	})
}
