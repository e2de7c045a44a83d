package processor

import (
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/redpanda-data/benthos/v4/public/service"

	"github.com/tidemarkhq/tidemark/checkpoint"
	"github.com/tidemarkhq/tidemark/watermark"
)

// TimestampAssigner gets event times out of messages. There is one for each partition,
// used by one goroutine at a time. The idea is Flink's interface of that name.
type TimestampAssigner interface {
	// EventTime returns the event time of a message, given the timestamp of its Kafka
	// record (watermark.None if it has none). An error is what on_bad_timestamp is for,
	// and so are watermark.None and watermark.End. The message must not be changed or
	// kept.
	EventTime(m *service.Message, kafka watermark.Time) (watermark.Time, error)
}

// PunctuatedGenerator finds watermarks in messages. There is one for each partition, used
// by one goroutine at a time.
type PunctuatedGenerator interface {
	// Observe is told of each message with its event time, in the order of offsets. It
	// returns the watermark that the message carries, watermark.None if it carries none.
	// One below an earlier one counts for nothing. The message must not be changed or kept.
	Observe(m *service.Message, t watermark.Time) watermark.Time
	// Resume is called before anything else, with the watermark that the last checkpoint
	// holds, as watermark.Generator says.
	Resume(w watermark.Time)
}

// byName holds constructors of one kind. It belongs to the process, as Benthos's own
// registry of components does.
type byName[T any] struct {
	kind string
	mu   sync.RWMutex
	all  map[string]func(checkpoint.Partition) T
}

var registered = struct {
	assigners  byName[TimestampAssigner]
	periodic   byName[watermark.Generator]
	punctuated byName[PunctuatedGenerator]
}{
	assigners:  byName[TimestampAssigner]{kind: "timestamp assigner"},
	periodic:   byName[watermark.Generator]{kind: "watermark generator"},
	punctuated: byName[PunctuatedGenerator]{kind: "punctuated watermark generator"},
}

// RegisterTimestampAssigner adds a timestamp assigner that configurations can name in the
// field timestamp_assigner. construct is called once for each partition.
//
// The name must have a dot, such as acme.created, so that it never clashes with one of a
// later version. It is an error if it is taken. Call it from an init function.
func RegisterTimestampAssigner(name string, construct func(checkpoint.Partition) TimestampAssigner) error {
	return registered.assigners.add(name, construct)
}

// RegisterGenerator adds a watermark generator that watermark_periodic can name in the
// field generator; otherwise as RegisterTimestampAssigner. construct is also called after
// a rewind, and for records that come again. The watermark is asked for after each record.
func RegisterGenerator(name string, construct func(checkpoint.Partition) watermark.Generator) error {
	return registered.periodic.add(name, construct)
}

// RegisterPunctuatedGenerator adds a watermark generator that watermark_punctuated can name
// in the field generator; otherwise as RegisterTimestampAssigner.
func RegisterPunctuatedGenerator(name string, construct func(checkpoint.Partition) PunctuatedGenerator) error {
	return registered.punctuated.add(name, construct)
}

func (b *byName[T]) add(name string, construct func(checkpoint.Partition) T) error {
	if !strings.Contains(name, ".") || strings.ContainsAny(name, " \t\n") {
		return fmt.Errorf("registering %s %q: its name must have a dot and no space, such as acme.mine", b.kind, name)
	}
	if construct == nil {
		return fmt.Errorf("registering %s %q: its constructor is nil", b.kind, name)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, taken := b.all[name]; taken {
		return fmt.Errorf("registering %s %q: there is one of that name already", b.kind, name)
	}
	if b.all == nil {
		b.all = map[string]func(checkpoint.Partition) T{}
	}
	b.all[name] = construct
	return nil
}

func (b *byName[T]) find(name string) (func(checkpoint.Partition) T, error) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	if construct, ok := b.all[name]; ok {
		return construct, nil
	}
	known := make([]string, 0, len(b.all))
	for other := range b.all {
		known = append(known, other)
	}
	slices.Sort(known)
	return nil, fmt.Errorf("%s %q is unknown: this build has registered %d: %s", b.kind, name, len(known), strings.Join(known, ", "))
}

// record is what a generator is told of a record.
type record struct {
	time watermark.Time
	// says is the watermark that the record carries, None if it does not.
	says    watermark.Time
	message *service.Message
}

// generator derives the watermark of one partition.
type generator interface {
	observe(r record)
	Watermark() watermark.Time
	Resume(w watermark.Time)
}

// periodic observes event times. Its watermark never falls, whatever the generator says.
type periodic struct {
	watermark.Generator
	reached watermark.Time
}

func newPeriodic(g watermark.Generator) *periodic {
	return &periodic{Generator: g, reached: watermark.None}
}

func (p *periodic) observe(r record) {
	p.Observe(r.time)
	p.reached = max(p.reached, p.Generator.Watermark())
}

// Watermark implements generator.
func (p *periodic) Watermark() watermark.Time { return p.reached }

// Resume implements generator.
func (p *periodic) Resume(w watermark.Time) {
	p.Generator.Resume(w)
	p.reached = max(p.reached, w, p.Generator.Watermark())
}

// punctuated takes what records say, or what own finds in them.
type punctuated struct {
	*watermark.Punctuated
	own PunctuatedGenerator
}

func (p *punctuated) observe(r record) {
	if p.own != nil {
		r.says = p.own.Observe(r.message, r.time)
	}
	p.Say(r.says)
}

// Resume implements generator.
func (p *punctuated) Resume(w watermark.Time) {
	p.Punctuated.Resume(w)
	if p.own != nil {
		p.own.Resume(w)
	}
}
