package checkpoints

import (
	"cmp"
	"errors"
	"fmt"
	"os"

	"github.com/redpanda-data/benthos/v4/public/service"
	"gopkg.in/yaml.v3"

	"github.com/tidemarkhq/tidemark/input"
	"github.com/tidemarkhq/tidemark/internal/lintrule"
	"github.com/tidemarkhq/tidemark/internal/savepoint"
	"github.com/tidemarkhq/tidemark/internal/store"
	"github.com/tidemarkhq/tidemark/output"
)

// configured takes the place from a pipeline's file: its store, the job, and for a topic how
// the pipeline reaches it. Errors never show values of secret fields.
func (p *place) configured(path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	inputs, outputs, err := lintrule.Components(lintrule.Expand(text, os.LookupEnv))
	if err != nil {
		return err
	}
	// The inputs of a stream share the checkpoints; one of them may say where they are kept.
	var first *input.Config
	for _, in := range inputs {
		conf, err := parse(in, input.Spec(), input.ParseConfig)
		if err != nil {
			return err
		}
		if first == nil {
			first = &conf
		}
		if at := conf.Checkpoint; at.Directory != "" || at.Topic != "" {
			p.job = cmp.Or(at.Job, at.Group)
			if at.Shard.Count > 0 {
				share := savepoint.ShareOf(at.Shard, nil)
				p.share = &share
			}
			if p.directory = at.Directory; p.directory != "" {
				return nil
			}
			p.topic = &store.TopicPlace{
				Connection: first.Connection, Topic: at.Topic, Spec: store.TopicSpec{Partitions: at.TopicPartitions},
			}
			return p.written(outputs)
		}
	}
	return errors.New("no input kafka_checkpointed of the pipeline has checkpoint.store.directory or checkpoint.store.topic, so there is no store")
}

// written puts the connection of the output that delivers exactly once, if there is one, in
// the place of the input's: a topic lies where the transaction is.
func (p *place) written(outputs []lintrule.Component) error {
	for _, out := range outputs {
		conf, err := parse(out, output.Spec(), output.ParseConfig)
		if err != nil {
			return err
		}
		if conf.Delivery != output.ExactlyOnce {
			continue
		}
		p.topic.Connection, p.topic.Prefix = conf.Connection, conf.TransactionalIDPrefix
		p.topic.MaxRecord = int(min(store.DefaultMaxRecord, conf.Producer.MaxMessageBytes*9/10))
		return nil
	}
	return nil
}

// parse reads the fields of a component.
func parse[T any](of lintrule.Component, spec *service.ConfigSpec, read func(*service.ParsedConfig, *service.Resources) (T, error)) (conf T, err error) {
	text, err := yaml.Marshal(of.Settings)
	if err != nil {
		return conf, fmt.Errorf("%s: %w", of.Path, err)
	}
	parsed, err := spec.ParseYAML(string(text), nil)
	if err == nil {
		conf, err = read(parsed, service.MockResources())
	}
	if err != nil {
		return conf, fmt.Errorf("%s: %w", of.Path, err)
	}
	return conf, nil
}
