package output

import (
	"fmt"
	"slices"

	"github.com/tidemarkhq/tidemark/internal/kafka"
)

// requirements are what the configuration asks of brokers that not all of them have.
func (c *Config) requirements() []kafka.Requirement {
	var rs []kafka.Requirement
	when := func(needed bool, setting string, f kafka.Feature, remedy string) {
		if needed {
			rs = append(rs, kafka.Requirement{Setting: setting, Feature: f, Remedy: remedy})
		}
	}
	when(c.Producer.Compression == "lz4", "compression is lz4", kafka.Lz4, "use snappy or gzip")
	when(c.Producer.Compression == "zstd", "compression is zstd", kafka.Zstd, "use snappy or gzip")
	when(c.Record.Timestamp != nil, "timestamp_ms is set", kafka.Timestamps, "remove it")
	when(c.Record.writesHeaders, "metadata is set, to write headers", kafka.Headers, "remove it")
	when(c.Delivery == ExactlyOnce, "delivery is exactly_once", kafka.MemberCommits, "use at_least_once")
	return rs
}

// fit adapts the output to brokers that are known by now: what they cannot do is an error.
func (o *Output) fit() error {
	b := o.conf.Connection.Brokers
	if err := b.Meet(o.conf.requirements()...); err != nil {
		return err
	}
	o.shaper.headless.Store(b.Lack(kafka.Headers))
	o.fitted.Do(func() {
		if o.conf.Producer.Idempotent && b.Lack(kafka.Idempotence) {
			o.log.Warnf("idempotent_write has no effect with brokers of version %s, it needs 0.11 or newer: a request that is repeated, "+
				"because its answer was lost, can write its records twice", b.Version())
		}
	})
	return nil
}

// writesHeaders tells whether a metadata filter lets anything through: one whose patterns
// match nothing is how to write no headers.
func writesHeaders(prefixes, patterns []string) bool {
	return len(prefixes) > 0 || slices.ContainsFunc(patterns, func(p string) bool { return p != "^$" })
}

// readHeaders reads the filter's rules, which it does not tell itself.
func (p *parser) readHeaders(c *RecordConfig) {
	if !p.conf.Contains(fieldMetadata) {
		return
	}
	list := func(name string) []string {
		if !p.conf.Contains(fieldMetadata, name) {
			return nil
		}
		items, err := p.conf.FieldStringList(fieldMetadata, name)
		if err != nil {
			p.fault(fieldMetadata, fmt.Errorf("%s: %w", name, err))
		}
		return items
	}
	c.writesHeaders = writesHeaders(list("include_prefixes"), list("include_patterns"))
}
