package cache

import (
	"errors"
	"fmt"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"

	"github.com/tidemarkhq/tidemark/internal/engine"
)

// Name is what the component is called in a configuration.
const Name = "checkpointed"

// The names of the fields, and the clocks that a time to live counts by.
const (
	fieldTTL   = "default_ttl"
	fieldTTLBy = "ttl_by"

	byWallClock = "wall_clock"
	byEventTime = "event_time"
)

const description = `
Processors such as ` + "`dedupe`, `cache` and `cached`" + ` note in a cache what they have seen. After a crash the input reads again what came after the last checkpoint; with any other cache those records are then taken for seen, and lost. The contents of this one go back together with the positions: what a processor has noted about a record is there exactly if the record counts as processed.

It needs an input ` + "`kafka_checkpointed`" + ` with ` + "`checkpoint.store.directory`" + `, which reads all partitions of its topics by static assignment: a cache is not told which partition a record is of, so its contents could not move along with one. As it takes part in checkpoints, a rejected message makes the stream go back to the last one.

Mind that ` + "`dedupe`" + ` drops a message whose ` + "`key`" + ` cannot be had, also with ` + "`drop_on_err: false`" + `, and takes all messages for one whose key is null: let only those pass it that have a key.

### Several streams in one process

A resource belongs to no stream. Where there is one stream with ` + "`kafka_checkpointed`" + ` the cache is that one's. In streams mode name it in ` + "`checkpoint.caches`" + ` of the input of the stream that it belongs to; it can belong to one. A cache that nobody names, or two name, stops the streams that may use it, rather than lose a record.

### Time to live

By ` + "`wall_clock`" + ` an entry is gone when that much time has passed; by ` + "`event_time`" + ` when the watermark of the stream has moved on by so much since the fastest record that was read when the entry was set: never earlier, however fast a backlog is read, and later by as much as partitions are apart. It needs ` + "`watermark_periodic` or `watermark_punctuated`" + ` under the processors of the input.`

func spec() *service.ConfigSpec {
	return service.NewConfigSpec().
		Beta().
		Summary("Keeps entries in the checkpoints of the stream, so that they are consistent with the offsets of its input.").
		Description(description).
		Fields(
			service.NewDurationField(fieldTTL).
				Description("How long an entry lives that is set without a time to live. Unset: for ever.").
				Example("24h").
				Optional(),
			service.NewStringAnnotatedEnumField(fieldTTLBy, map[string]string{
				byWallClock: "The clock of the machine.",
				byEventTime: "The watermark of the stream.",
			}).Description("What a time to live counts by.").
				Default(byWallClock),
		).
		LintRule(`root = if this.default_ttl != null && this.default_ttl.string().re_match("^(-|[+]?0+([.]0*)?[a-zµ]*$)") { "default_ttl is %v: set it to more than 0s, or leave it out".format(this.default_ttl) }`)
}

type config struct {
	// ttl of entries that are set without one; 0 = they do not expire.
	ttl         time.Duration
	byEventTime bool
}

func parse(conf *service.ParsedConfig) (c config, err error) {
	by, err := conf.FieldString(fieldTTLBy)
	c.byEventTime = by == byEventTime
	if !conf.Contains(fieldTTL) {
		return c, err
	}
	ttl, ttlErr := conf.FieldDuration(fieldTTL)
	if err = errors.Join(err, ttlErr); err == nil && ttl < time.Millisecond {
		err = fmt.Errorf("%s: %s is %v: set it to 1ms or more, or leave it out", Name, fieldTTL, ttl)
	}
	c.ttl = ttl
	return c, err
}

// Register adds the cache to an environment.
func Register(env *service.Environment) error {
	return env.RegisterCache(Name, spec(), func(conf *service.ParsedConfig, res *service.Resources) (service.Cache, error) {
		c, err := parse(conf)
		if err != nil {
			return nil, err
		}
		if err := engine.CheckLabel(res); err != nil {
			return nil, fmt.Errorf("%s: %w", Name, err)
		}
		return newCache(c, res), nil
	})
}
