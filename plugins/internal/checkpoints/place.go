package checkpoints

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/tidemarkhq/tidemark/checkpoint"
	"github.com/tidemarkhq/tidemark/internal/kafka"
	"github.com/tidemarkhq/tidemark/internal/savepoint"
	"github.com/tidemarkhq/tidemark/internal/store"
)

// storeFlags say where a store is; job is what --job means.
func storeFlags(job string) []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{
			Name: flagDirectory, Aliases: []string{"d"}, Usage: "the folder of the store, checkpoint.store.directory of the input",
		},
		&cli.StringFlag{
			Name: flagConfig, Aliases: []string{"c"}, Usage: "the `FILE` of a pipeline: the store is its own, folder or topic, and is reached as it does, with TLS and SASL",
		},
		&cli.StringFlag{
			Name: flagTopic, Usage: "the topic of the store, checkpoint.store.topic of the input, on brokers that want neither TLS nor SASL",
		},
		&cli.StringSliceFlag{Name: flagBrokers, Usage: "`HOST:PORT` of a broker, with --topic; repeat it, or separate several by commas"},
		&cli.StringFlag{Name: flagJob, Usage: job},
	}
}

const jobOfTopic = "the job (checkpoint.job, or the consumer_group), where a topic has several"

// flagsOfStores are those that say where a store is.
var flagsOfStores = []string{flagDirectory, flagTopic, flagConfig}

// place is where a store is: in a folder or in a topic.
type place struct {
	directory string
	topic     *store.TopicPlace
	// share is that of the pipeline, and job its name, where they are known.
	share *savepoint.Share
	job   string
	// given are the flag and its value that named the place.
	given string
}

func placeOf(c *cli.Context) (place, error) {
	set := slices.DeleteFunc(slices.Clone(flagsOfStores), func(name string) bool { return c.String(name) == "" })
	switch {
	case len(set) == 0:
		return place{}, errors.New("none of --directory, --topic and --config is set: name the folder of the store, its topic, or the file of the pipeline")
	case len(set) > 1:
		return place{}, fmt.Errorf("--%s and --%s are set: remove one of them", set[0], set[1])
	case set[0] != flagTopic && c.IsSet(flagBrokers):
		return place{}, fmt.Errorf("--brokers is set, which goes with --topic, and so is --%s: remove one of them", set[0])
	}
	p := place{given: fmt.Sprintf("--%s %s", set[0], c.String(set[0]))}
	switch set[0] {
	case flagDirectory:
		p.directory = c.String(flagDirectory)
	case flagConfig:
		if err := p.configured(c.String(flagConfig)); err != nil {
			return p, fmt.Errorf("%s: %w", p.given, err)
		}
	case flagTopic:
		var brokers []string
		for _, item := range c.StringSlice(flagBrokers) {
			brokers = append(brokers, strings.Split(item, ",")...)
		}
		if len(brokers) == 0 {
			return p, errors.New("--brokers is not set: name a broker of the cluster that has the topic, or use --config")
		}
		p.topic = &store.TopicPlace{Connection: kafka.Connection{SeedBrokers: brokers}, Topic: c.String(flagTopic)}
	}
	if c.IsSet(flagJob) {
		p.job = c.String(flagJob)
	}
	if p.topic != nil {
		p.topic.Job, p.topic.Force = p.job, c.Bool(flagForce)
		if c.IsSet(flagPartitions) {
			p.topic.Spec.Partitions = c.Int(flagPartitions)
		}
		return p, nil
	}
	for _, name := range []string{flagForce, flagPartitions, flagJob} {
		// The job of an import is for any store.
		if c.IsSet(name) && (name != flagJob || c.Command.Name != importName) {
			return p, fmt.Errorf("--%s is set, and the store is a folder: remove it, it is for topics", name)
		}
	}
	return p, nil
}

// String names the place for messages.
func (p place) String() string {
	if p.topic != nil {
		return "topic " + p.topic.Topic
	}
	return p.directory
}

func (p place) options() store.Options { return store.Options{Directory: p.directory} }

// archive opens the store that is there.
func (p place) archive(ctx context.Context) (savepoint.Archive, error) {
	a, err := p.open(ctx)
	switch {
	case err == nil:
		return a, nil
	case errors.Is(err, checkpoint.ErrLocked):
		return nil, fmt.Errorf("%s: %w: stop the job that runs there, or ask it for a savepoint by the signal USR2 or by HTTP", p.given, err)
	case errors.Is(err, savepoint.ErrNoStore) && p.topic == nil:
		return nil, fmt.Errorf("%s: %w: name the folder that is checkpoint.store.directory of the job", p.given, err)
	}
	return nil, fmt.Errorf("%s: %w", p.given, err)
}

func (p place) open(ctx context.Context) (savepoint.Archive, error) {
	// A nil pointer in an interface is not nil.
	if p.topic == nil {
		a, err := store.OpenArchive(p.options())
		if err != nil {
			return nil, err
		}
		return a, nil
	}
	a, err := store.OpenTopicArchive(ctx, *p.topic)
	if err != nil {
		return nil, err
	}
	return a, nil
}

// importer makes a store there.
func (p place) importer() savepoint.Importer {
	if p.topic != nil {
		return store.TopicImporter{Place: *p.topic}
	}
	return store.Importer{Options: p.options()}
}

// withArchive runs fn with the store that the flags name.
func withArchive(ctx context.Context, c *cli.Context, fn func(savepoint.Archive) error) error {
	p, err := placeOf(c)
	if err != nil {
		return err
	}
	a, err := p.archive(ctx)
	if err != nil {
		return err
	}
	return errors.Join(fn(a), a.Close())
}
