package processor

import (
	"errors"
	"fmt"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"

	"github.com/tidemarkhq/tidemark/checkpoint"
	"github.com/tidemarkhq/tidemark/internal/mapping"
	"github.com/tidemarkhq/tidemark/watermark"
)

// config is what a processor is told.
type config struct {
	// timestamp returns the event time; nil = assigner does, and if that is nil too the
	// record's timestamp is it.
	timestamp *mapping.Mapping
	assigner  func(checkpoint.Partition) TimestampAssigner
	// watermark returns what a message says about event time; nil = it says nothing.
	watermark *mapping.Mapping
	// generator makes that of a partition.
	generator func(checkpoint.Partition) generator
	// interval is how often idleness and alignment are decided.
	interval time.Duration
	rules    watermark.Rules
	metadata metadataSelection
	// skipBad drops messages without a timestamp; else they are marked as failed.
	skipBad bool
}

// faults collects what is wrong with a configuration.
type faults struct {
	name string
	conf *service.ParsedConfig
	errs []error
}

func (f *faults) note(err error) {
	if err != nil {
		f.errs = append(f.errs, err)
	}
}

func (f *faults) faultf(format string, args ...any) {
	f.note(fmt.Errorf(f.name+": "+format, args...))
}

func (f *faults) text(field string) string {
	s, err := f.conf.FieldString(field)
	f.note(err)
	return s
}

func (f *faults) mapping(field string) *mapping.Mapping {
	m, err := mapping.Field(f.conf, field)
	f.note(err)
	return m
}

func (f *faults) duration(field string, least time.Duration) time.Duration {
	d, err := f.conf.FieldDuration(field)
	f.note(err)
	if err == nil && d < least {
		f.faultf("%s is %v: set it to %v or more", field, d, least)
	}
	return d
}

// skipBad reads what becomes of messages without a timestamp. Benthos leaves options to
// its linter, which can be switched off.
func (f *faults) skipBad() bool {
	what := f.text(fieldBadTimestamp)
	if what != badFail && what != badSkip {
		f.faultf("%s is %q: use %s or %s", fieldBadTimestamp, what, badFail, badSkip)
	}
	return what == badSkip
}

func (f *faults) metadata() metadataSelection {
	names, err := f.conf.FieldStringList(fieldMetadata)
	f.note(err)
	set, err := selectMetadata(names)
	if err != nil {
		f.faultf("%w", err)
	}
	return set
}

// parse reads a configuration and reports all that is wrong with it.
func parse(conf *service.ParsedConfig, name string) (*config, error) {
	f := &faults{name: name, conf: conf}
	c := &config{timestamp: f.mapping(fieldTimestamp)}
	c.interval = f.duration(fieldInterval, time.Millisecond)
	c.rules.IdleAfter = f.duration(fieldIdle, 0)
	c.rules.MaxDrift = f.duration(fieldDrift, 0)
	c.skipBad = f.skipBad()
	c.metadata = f.metadata()
	if assigner := f.text(fieldAssigner); assigner != "" {
		construct, err := registered.assigners.find(assigner)
		f.note(err)
		c.assigner = construct
		if c.timestamp != nil {
			f.faultf("%s and %s are both set: remove one of them", fieldTimestamp, fieldAssigner)
		}
	}
	if name == NamePunctuated {
		f.punctuated(c)
	} else {
		f.periodic(c)
	}
	return c, errors.Join(f.errs...)
}

func (f *faults) periodic(c *config) {
	disorder := f.duration(fieldDisorder, 0)
	c.generator = func(checkpoint.Partition) generator {
		return newPeriodic(watermark.BoundedOutOfOrderness(disorder))
	}
	name := f.text(fieldGenerator)
	if name == "" {
		return
	}
	if disorder != 0 {
		f.faultf("%s is %q and %s is %v: remove one of them", fieldGenerator, name, fieldDisorder, disorder)
	}
	construct, err := registered.periodic.find(name)
	f.note(err)
	c.generator = func(p checkpoint.Partition) generator { return newPeriodic(construct(p)) }
}

func (f *faults) punctuated(c *config) {
	c.watermark = f.mapping(fieldWatermark)
	c.generator = func(checkpoint.Partition) generator {
		return &punctuated{Punctuated: watermark.NewPunctuated()}
	}
	name := f.text(fieldGenerator)
	if (name == "") == (c.watermark == nil) {
		f.faultf("set one of %s and %s", fieldWatermark, fieldGenerator)
	}
	if name == "" {
		return
	}
	construct, err := registered.punctuated.find(name)
	f.note(err)
	c.generator = func(p checkpoint.Partition) generator {
		return &punctuated{Punctuated: watermark.NewPunctuated(), own: construct(p)}
	}
}

// RegisterPeriodic adds watermark_periodic to an environment.
func RegisterPeriodic(env *service.Environment) error {
	return register(env, NamePeriodic, specPeriodic())
}

// RegisterPunctuated adds watermark_punctuated to an environment.
func RegisterPunctuated(env *service.Environment) error {
	return register(env, NamePunctuated, specPunctuated())
}

func register(env *service.Environment, name string, spec *service.ConfigSpec) error {
	return env.RegisterBatchProcessor(name, spec, func(conf *service.ParsedConfig, res *service.Resources) (service.BatchProcessor, error) {
		c, err := parse(conf, name)
		if err != nil {
			return nil, err
		}
		return newAssigner(c, res)
	})
}
