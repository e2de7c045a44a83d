package output

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemarkhq/tidemark/checkpoint"
	"github.com/tidemarkhq/tidemark/internal/connection"
	"github.com/tidemarkhq/tidemark/internal/engine"
	"github.com/tidemarkhq/tidemark/internal/kafka"
)

// How long Close waits for what is still on its way. Where checkpoints wait for the
// brokers the final one has done so already: what is left will be read again, and
// would only be repeated. Where nothing is promised this is the only time that
// anybody waits.
const (
	closeTimeoutCovered = time.Second
	closeTimeoutNone    = 10 * time.Second
)

// resourcePath is where Benthos builds the outputs among the resources.
const resourcePath = "output_resources"

// Register adds the output to an environment. dial opens connections to brokers;
// nil = the operating system's network.
func Register(env *service.Environment, dial func(ctx context.Context, network, host string) (net.Conn, error)) error {
	construct := func(conf *service.ParsedConfig, res *service.Resources) (service.BatchOutput, service.BatchPolicy, int, error) {
		c, err := ParseConfig(conf, res)
		if err != nil {
			return nil, service.BatchPolicy{}, 0, err
		}
		if dial != nil {
			c.Connection.Dial = dial
		}
		var coordinator checkpoint.Coordinator
		unchecked := false
		if path := res.Path(); len(path) == 0 || path[0] != resourcePath {
			own := engine.For(res)
			coordinator, unchecked = own, own.Unchecked()
		}
		o, err := New(c, res, coordinator)
		if err == nil && c.Delivery == ExactlyOnce {
			err = o.joinTransaction(coordinator)
		}
		if err != nil {
			return nil, service.BatchPolicy{}, 0, err
		}
		traced, err := conf.WrapBatchOutputExtractTracingSpanMapping(Name, o)
		return traced, c.Batching, c.maxInFlight(unchecked), err
	}
	return env.RegisterBatchOutput(Name, Spec(), construct)
}

// Output writes messages to Kafka.
type Output struct {
	conf     *Config
	log      *service.Logger
	stats    *stats
	shaper   *shaper
	producer *producer
	member   *member
	// transaction that the records go into; nil = none.
	transaction *engine.Transaction
	// patience is for Connect alone.
	patience connection.Patience

	warnUncovered sync.Once
	// fitted is for what there is to say about old brokers, once.
	fitted sync.Once
}

var (
	_ service.BatchOutput        = (*Output)(nil)
	_ service.ConnectionTestable = (*Output)(nil)
)

// New makes an output that takes part in the checkpoints of a coordinator; with
// nil, in those of the first record that it gets.
func New(c *Config, res *service.Resources, coordinator checkpoint.Coordinator) (*Output, error) {
	o, err := newOutput(c, res)
	if err != nil {
		return nil, err
	}
	o.member.resource = coordinator == nil
	if c.Delivery == ExactlyOnce {
		o.member.sink = &transactional{sink: sink{p: o.producer, delivery: c.Delivery}}
	}
	if coordinator != nil {
		if err := o.member.join(coordinator); err != nil {
			return nil, err
		}
	}
	return o, nil
}

// newOutput makes an output that is no part of any stream yet.
func newOutput(c *Config, res *service.Resources) (*Output, error) {
	stats := newStats(res.Metrics())
	p, err := newProducer(c, stats, res.Logger())
	if err != nil {
		return nil, err
	}
	o := &Output{
		conf: c, log: res.Logger(), stats: stats, shaper: newShaper(c), producer: p,
		member: &member{name: engine.Name(res), sink: &sink{p: p, delivery: c.Delivery}, afresh: p.afresh},
	}
	if err := kgo.ValidateOpts(o.clientOptions()...); err != nil {
		return nil, fmt.Errorf("configuring the Kafka client: %w", err)
	}
	return o, nil
}

// joinTransaction makes the output one of those that write into the transaction of their
// stream.
func (o *Output) joinTransaction(c checkpoint.Coordinator) error {
	own, ok := c.(*engine.Coordinator)
	if !ok {
		return fmt.Errorf("delivery of %q is exactly_once, but it is a resource, which does not belong to one stream: "+
			"put it into the stream's output, or set delivery to at_least_once", o.member.name)
	}
	t, err := own.JoinTransaction(o.member.name, engine.TransactionConfig{
		Connection: o.conf.Connection, Options: o.producerOptions(), Settings: o.conf.Settings,
		Partitioner: o.conf.Producer.partitioner(), MaxBytes: o.conf.Producer.MaxMessageBytes,
		Prefix: o.conf.TransactionalIDPrefix, Timeout: o.conf.TransactionTimeout,
	})
	if err != nil {
		return err
	}
	o.transaction = t
	o.producer.share(t)
	return nil
}

func (o *Output) clientOptions() []kgo.Opt {
	return append(o.conf.Connection.Options(), o.producerOptions()...)
}

func (o *Output) producerOptions() []kgo.Opt {
	return append(o.conf.Producer.options(), kgo.ProducerOnDataLossDetected(o.dataLost))
}

// dataLost is called when a partition has lost records that were confirmed. The
// client goes on; the stream writes them again.
func (o *Output) dataLost(topic string, partition int32) {
	err := fmt.Errorf("the brokers have lost records of topic %q partition %d that they had confirmed", topic, partition)
	o.log.Errorf("%v", err)
	if h := o.member.handle(); h != nil {
		h.Fail(err)
	}
}

// Connect implements service.BatchOutput. When the stream has failed for good, or ended before it
// began, it succeeds: then every write answers with the error, and the stream can end, which
// it could not while Benthos tries to connect.
func (o *Output) Connect(ctx context.Context) error {
	return o.patience.Connect(ctx, func(ctx context.Context) (again bool, err error) {
		if o.member.failed() != nil || o.producer.client.Load() != nil {
			return false, nil //nolint:nilerr // see above
		}
		if o.transaction != nil {
			return o.await(ctx)
		}
		cl, err := o.dial(ctx)
		if err == nil {
			o.producer.client.Store(cl)
			return false, nil
		}
		if kafka.Classify(kafka.Connect, err).Meaning > kafka.Permanent {
			o.member.fatal(err)
			return false, err
		}
		return true, err
	})
}

// await waits for the stream to make the client that its transactions are written with.
func (o *Output) await(ctx context.Context) (again bool, err error) {
	err = o.transaction.Await(ctx)
	if errors.Is(err, checkpoint.ErrDead) {
		return false, nil
	}
	return err != nil && o.member.failed() != nil, err
}

// dial makes a client that has talked to a broker, and that may write.
func (o *Output) dial(ctx context.Context) (*kgo.Client, error) {
	o.conf.Connection.Learn(ctx)
	if err := o.probe(ctx); err != nil {
		return nil, err
	}
	if err := o.fit(); err != nil {
		return nil, err
	}
	cl, err := kgo.NewClient(append(o.clientOptions(), kafka.RideOut()...)...)
	if err != nil {
		return nil, fmt.Errorf("configuring the Kafka client: %w", err)
	}
	if !o.conf.Producer.Idempotent || o.conf.Connection.Brokers.Lack(kafka.Idempotence) {
		return cl, nil
	}
	bounded, cancel := context.WithTimeout(ctx, kafka.ProbeTimeout)
	defer cancel()
	if _, _, err := cl.ProducerID(bounded); err != nil {
		cl.Close()
		return nil, fmt.Errorf("getting a producer id, which idempotent_write needs: %w", err)
	}
	return cl, nil
}

// probe finds out, with a client of its own, whether the cluster can be reached.
func (o *Output) probe(ctx context.Context) error {
	cl, err := o.conf.Connection.NewClient()
	if err != nil {
		return err
	}
	defer cl.Close()
	return kafka.Probe(ctx, cl)
}

// ConnectionTest implements service.ConnectionTestable.
func (o *Output) ConnectionTest(ctx context.Context) service.ConnectionTestResults {
	cl, err := o.dial(ctx)
	if err != nil {
		return service.ConnectionTestFailed(err).AsList()
	}
	cl.Close()
	return service.ConnectionTestSucceeded().AsList()
}

// Close implements service.BatchOutput. It writes what is left, and reports what
// it could not write.
func (o *Output) Close(ctx context.Context) error {
	timeout := closeTimeoutCovered
	if o.conf.Delivery == None {
		timeout = closeTimeoutNone
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	err := o.producer.drain(ctx)
	if errors.Is(err, errDiscarded) {
		err = nil // it comes again with the next start
	}
	if err != nil {
		o.log.Errorf("Closing: %v", err)
		if h := o.member.handle(); h != nil && o.producer.lossless {
			// Before it leaves: no later checkpoint may count as delivered what it was
			// given and did not deliver.
			h.Fail(fmt.Errorf("closing %q: %w", o.member.name, err))
		}
	}
	o.member.leave()
	o.producer.close()
	return err
}
