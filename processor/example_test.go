package processor_test

import (
	"context"
	"fmt"
	"time"

	_ "github.com/redpanda-data/benthos/v4/public/components/pure"
	"github.com/redpanda-data/benthos/v4/public/service"

	"github.com/tidemarkhq/tidemark/checkpoint"
	"github.com/tidemarkhq/tidemark/processor"
	"github.com/tidemarkhq/tidemark/watermark"
)

// seconds is a timestamp assigner for messages that are nothing but a number of seconds.
type seconds struct{}

// EventTime implements processor.TimestampAssigner.
func (seconds) EventTime(m *service.Message, _ watermark.Time) (watermark.Time, error) {
	b, err := m.AsBytes()
	if err != nil {
		return watermark.None, err
	}
	var n int64
	if _, err := fmt.Sscan(string(b), &n); err != nil {
		return watermark.None, err
	}
	return watermark.Of(time.Unix(n, 0)), nil
}

// second is a watermark generator that leaves out one outlier: event time has come as far
// as the second highest one so far.
type second struct{ highest, next watermark.Time }

// Observe implements watermark.Generator.
func (s *second) Observe(t watermark.Time) {
	s.highest, s.next = max(s.highest, t), max(s.next, min(s.highest, t))
}

// Watermark implements watermark.Generator.
func (s *second) Watermark() watermark.Time { return s.next }

// Resume implements watermark.Generator.
func (s *second) Resume(w watermark.Time) { s.highest, s.next = max(s.highest, w), max(s.next, w) }

// tens is a punctuated watermark generator for a producer that sends a round number when
// everything below it was sent.
type tens struct{}

// Observe implements processor.PunctuatedGenerator.
func (tens) Observe(_ *service.Message, t watermark.Time) watermark.Time {
	if t%10_000 == 0 {
		return t
	}
	return watermark.None
}

// Resume implements processor.PunctuatedGenerator.
func (tens) Resume(watermark.Time) {}

// A build of your own registers these from an init function. The registry belongs to the
// process, and so does this variable: an example may run more than once.
var errRegistered = func() error {
	if err := processor.RegisterTimestampAssigner("acme.seconds", func(checkpoint.Partition) processor.TimestampAssigner { return seconds{} }); err != nil {
		return err
	}
	if err := processor.RegisterGenerator("acme.second", func(checkpoint.Partition) watermark.Generator {
		return &second{watermark.None, watermark.None}
	}); err != nil {
		return err
	}
	return processor.RegisterPunctuatedGenerator("acme.tens", func(checkpoint.Partition) processor.PunctuatedGenerator { return tens{} })
}()

// A custom build registers how it finds event times and watermarks, and configurations
// name that.
func Example() {
	if errRegistered != nil {
		fmt.Println(errRegistered)
		return
	}
	env := service.NewEnvironment()
	if err := processor.RegisterPeriodic(env); err != nil {
		fmt.Println(err)
		return
	}
	if err := processor.RegisterPunctuated(env); err != nil {
		fmt.Println(err)
		return
	}
	for _, yaml := range []string{
		"watermark_periodic: { timestamp_assigner: acme.seconds, generator: acme.second }",
		"watermark_punctuated: { timestamp_assigner: acme.seconds, generator: acme.tens }",
	} {
		if err := show(env, yaml); err != nil {
			fmt.Println(err)
		}
	}
	// Output:
	// watermark_periodic: { timestamp_assigner: acme.seconds, generator: acme.second }
	// 3 without a watermark
	// 9 after 3s
	// 7 after 7s
	// 5 after 7s, late
	// 10 after 9s
	// 8 after 9s, late
	// watermark_punctuated: { timestamp_assigner: acme.seconds, generator: acme.tens }
	// 3 without a watermark
	// 9 without a watermark
	// 7 without a watermark
	// 5 without a watermark
	// 10 after 10s
	// 8 after 10s, late
}

// show runs a stream whose messages pass a processor, and prints what that says of them.
func show(env *service.Environment, yaml string) error {
	fmt.Println(yaml)
	builder := env.NewStreamBuilder()
	err := builder.AddInputYAML(`
generate:
  interval: ""
  count: 6
  mapping: 'root = [ 3, 9, 7, 5, 10, 8 ].index(counter() - 1).string()'
`)
	if err != nil {
		return err
	}
	builder.SetThreads(1)
	if err := builder.AddProcessorYAML(yaml); err != nil {
		return err
	}
	if err := builder.SetLoggerYAML("level: NONE"); err != nil {
		return err
	}
	err = builder.AddConsumerFunc(func(_ context.Context, m *service.Message) error {
		b, err := m.AsBytes()
		if err != nil {
			return err
		}
		line := string(b) + " without a watermark"
		if w, ok := m.MetaGetMut("watermark_ms"); ok {
			line = fmt.Sprintf("%s after %ds", b, w.(int64)/1000)
		}
		if late, _ := m.MetaGetMut("late"); late == true {
			line += ", late"
		}
		fmt.Println(line)
		return nil
	})
	if err != nil {
		return err
	}
	stream, err := builder.Build()
	if err != nil {
		return err
	}
	return stream.Run(context.Background())
}
