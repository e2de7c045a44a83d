package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemarkhq/tidemark/cmd/tidemark/internal/broker"
	"github.com/tidemarkhq/tidemark/config"
	"github.com/tidemarkhq/tidemark/plugins"
)

// What config/demo.yaml names.
const (
	source          = "orders"
	target          = "enriched-orders"
	group           = "tidemark-demo"
	brokersVariable = "KAFKA_BROKERS"
)

const (
	partitions = 4
	// retain bounds each partition of the demo's own broker, in bytes.
	retain = 256 << 20
	// stopTimeout bounds the end of the pipeline, final checkpoint included.
	stopTimeout = 20 * time.Second
)

// demo is one run.
type demo struct {
	// data and listen are those of the broker of its own.
	data, listen string
	// rate is the number of records to generate each second.
	rate int
	// brokers of a Kafka that is there; "" = run a broker.
	brokers  string
	out, err io.Writer
}

// run runs the demo until ctx ends. Released gives signals their meaning back.
func (d *demo) run(ctx context.Context, released func()) (err error) {
	if d.brokers == "" {
		b, err := d.startBroker()
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, b.Close()) }()
		d.brokers = b.Addr()
	} else {
		fmt.Fprintf(d.out, "Using the Kafka at %s.\n", d.brokers)
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(strings.Split(d.brokers, ",")...))
	if err != nil {
		return fmt.Errorf("connecting to %s=%q: %w", brokersVariable, d.brokers, err)
	}
	defer client.Close()
	if err := createTopics(ctx, client); err != nil {
		return err
	}
	start, err := where(ctx, client)
	if err != nil {
		return err
	}
	fmt.Fprintln(d.out, start)
	return d.stream(ctx, released, client, start)
}

func (d *demo) startBroker() (*broker.Broker, error) {
	b, err := broker.Start(broker.Options{Listen: d.listen, Dir: d.data, Partitions: partitions})
	if err != nil {
		return nil, err
	}
	for _, topic := range []string{source, target} {
		if err := b.CreateTopic(topic, partitions, retain); err != nil {
			return nil, errors.Join(err, b.Close())
		}
	}
	fmt.Fprintf(d.out, "Broker listening on %s, data in %s.\n", b.Addr(), d.data)
	return b, nil
}

// createTopics makes sure that the demo's topics are there; an input creates none.
func createTopics(ctx context.Context, client *kgo.Client) error {
	created, err := kadm.NewClient(client).CreateTopics(ctx, partitions, -1, nil, source, target)
	if err != nil {
		return fmt.Errorf("creating topics: %w", err)
	}
	for _, t := range created.Sorted() {
		if t.Err != nil && !errors.Is(t.Err, kerr.TopicAlreadyExists) {
			return fmt.Errorf("creating topic %s: %w", t.Topic, t.Err)
		}
	}
	return nil
}

// stream runs the pipeline, the generator and the progress beside it.
func (d *demo) stream(ctx context.Context, released func(), client *kgo.Client, start position) error {
	g := &gauges{}
	pipeline, err := d.build(g)
	if err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- pipeline.Run(context.WithoutCancel(ctx)) }()
	gen := generator{client: client, rate: d.rate, next: start.written}
	generating, stopGenerating := context.WithCancel(ctx)
	generated := make(chan error, 1)
	go func() { generated <- gen.run(generating) }()

	p := progress{out: d.out, gauges: g, now: time.Now}
	err = p.watch(ctx, ended)
	released()
	stopGenerating()
	err = errors.Join(err, <-generated)
	if ctx.Err() != nil && err == nil {
		fmt.Fprintln(d.out, "Stopping: final checkpoint.")
		if stopErr := pipeline.StopWithin(stopTimeout); stopErr != nil {
			err = fmt.Errorf("stopping the pipeline within %v: %w", stopTimeout, stopErr)
		}
		p.print()
	}
	if failed := plugins.Failed(); failed != nil && err == nil {
		err = failed
	}
	if err != nil {
		return err
	}
	return d.farewell(ctx, client)
}

// farewell says where the run has stopped.
func (d *demo) farewell(ctx context.Context, client *kgo.Client) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	end, err := where(ctx, client)
	if err != nil {
		return err
	}
	fmt.Fprintf(d.out, "Stopped in order after %d of %d orders. Run again to go on from there.\n", end.done, end.written)
	return nil
}

// build makes the pipeline of config/demo.yaml, with its metrics going to g.
func (d *demo) build(g *gauges) (*service.Stream, error) {
	env := service.NewEnvironment()
	if err := g.register(env); err != nil {
		return nil, err
	}
	b := env.NewStreamBuilder()
	b.SetEnvVarLookupFunc(func(name string) (string, bool) {
		if name == brokersVariable {
			return d.brokers, true
		}
		return os.LookupEnv(name)
	})
	b.SetLogger(slog.New(slog.NewTextHandler(d.err, &slog.HandlerOptions{Level: slog.LevelWarn})))
	if err := b.SetYAML(config.Demo); err != nil {
		return nil, fmt.Errorf("reading the demo's pipeline: %w", err)
	}
	if err := b.SetMetricsYAML(gaugesName + ": {}"); err != nil {
		return nil, fmt.Errorf("setting the demo's metrics: %w", err)
	}
	s, err := b.Build()
	if err != nil {
		return nil, fmt.Errorf("building the demo's pipeline: %w", err)
	}
	return s, nil
}
