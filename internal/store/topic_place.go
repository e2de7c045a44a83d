package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"reflect"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemarkhq/tidemark/checkpoint"
	"github.com/tidemarkhq/tidemark/internal/kafka"
	"github.com/tidemarkhq/tidemark/internal/savepoint"
)

// TopicPlace says where the checkpoints of a job are, for who works on them from outside of
// the job: TopicArchive and TopicImporter.
type TopicPlace struct {
	Connection kafka.Connection
	Topic      string
	// Job is empty for the only one that there is, or when importing for that of what is
	// imported.
	Job string
	// Prefix of the job's transactional ids.
	Prefix string
	// Spec is what a topic is made like that an import does not find.
	Spec TopicSpec
	// MaxRecord is as in TopicOptions.
	MaxRecord int
	// Force deletes although a process may be at work with the job.
	Force bool
	// Patience bounds how long transactions of others are waited for; 0 = 90 seconds, which
	// is more than the time-out that they have if nobody has changed it.
	Patience time.Duration
}

const placePatience = 90 * time.Second

// topicDesk is a job in a topic that is worked on from outside.
type topicDesk struct {
	place  TopicPlace
	client *kgo.Client
	topic  *Topic
	// folder is where the local copy is.
	folder string
}

// dial connects, which shows within seconds if that is not possible.
func (p TopicPlace) dial(ctx context.Context) (*kgo.Client, error) {
	p.Connection.Learn(ctx)
	if err := p.Connection.Brokers.Meet(kafka.StoreTopic); err != nil {
		return nil, err
	}
	client, err := p.Connection.NewClient()
	if err != nil {
		return nil, err
	}
	if err := kafka.Probe(ctx, client); err != nil {
		client.Close()
		return nil, err
	}
	return client, nil
}

// open opens a topic of so many partitions; the client is the desk's from then on.
func (p TopicPlace) open(client *kgo.Client, partitions int) (*topicDesk, error) {
	d := &topicDesk{place: p, client: client}
	var err error
	// State may be larger than memory.
	if d.folder, err = os.MkdirTemp("", "tidemark-checkpoint-"); err == nil {
		d.topic, err = OpenTopic(client, TopicOptions{
			Topic: p.Topic, Partitions: partitions, Job: p.Job, Directory: d.folder, MaxRecord: p.MaxRecord,
		})
	}
	if err != nil {
		return nil, errors.Join(err, d.close())
	}
	return d, nil
}

func (d *topicDesk) close() error {
	var err error
	if d.topic != nil {
		err = d.topic.Close()
	}
	d.client.Close()
	if d.folder != "" {
		err = errors.Join(err, os.RemoveAll(d.folder))
	}
	return err
}

// restore brings everything in that is committed of the job.
func (d *topicDesk) restore(ctx context.Context) (map[checkpoint.Scope]History, error) {
	wait := cmp.Or(d.place.Patience, placePatience)
	bounded, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	all, err := d.topic.restoreAll(bounded)
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case bounded.Err() != nil:
		return nil, fmt.Errorf("%w; the topic was not at rest for %v: its jobs write checkpoints all the time, or one has died with a transaction open; "+
			"stop the job or ask it for a savepoint, or wait for transaction_timeout", err, wait)
	}
	return all, err
}

// writer begins to write under a transactional id of the job's own kind, which takes the
// place of any other import or deletion of the job. bytes is how much state is concerned: if
// this process dies, the job has to wait for the transaction's time-out, so that should be
// no longer than it takes.
func (d *topicDesk) writer(ctx context.Context, bytes int64) (w *kafka.Transactions, id string, err error) {
	const slow, longest = 1 << 20, 15 * time.Minute // bytes a second; what brokers allow unless told otherwise
	id = cmp.Or(d.place.Prefix, "tidemark") + "-" + d.topic.conf.Job + "-checkpoint-command"
	conf := kafka.TransactionConfig{
		Connection: d.place.Connection, ID: id, Timeout: min(kafka.DefaultTransactionTimeout+time.Duration(bytes/slow)*time.Second, longest),
		Options: []kgo.Opt{kgo.RecordPartitioner(kgo.ManualPartitioner())},
	}
	if w, err = kafka.OpenTransactions(ctx, conf); errors.Is(err, kerr.InvalidTransactionTimeout) {
		conf.Timeout = kafka.DefaultTransactionTimeout
		w, err = kafka.OpenTransactions(ctx, conf)
	}
	return w, id, err
}

// inTransaction writes what fn hands out in one transaction. After an error nothing of it is
// there, unless that is said to be unknown.
func inTransaction(ctx context.Context, w *kafka.Transactions, fn func(write func([]*kgo.Record) error) error) error {
	if err := w.Begin(ctx); err != nil {
		return err
	}
	err := fn(func(records []*kgo.Record) error {
		if err := w.Client().ProduceSync(ctx, records...).FirstErr(); err != nil {
			return fmt.Errorf("writing to the topic: %w", err)
		}
		return ctx.Err()
	})
	doubt := false
	if err == nil {
		err = w.Commit(ctx)
		doubt = err != nil
	}
	if err == nil {
		return nil
	}
	// Whoever was interrupted wants nothing to stay open.
	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), abortPatience)
	defer cancel()
	err = errors.Join(err, w.Abort(ending))
	if doubt {
		err = fmt.Errorf("%w: %w", checkpoint.ErrInDoubt, err)
	}
	return err
}

// hold claims scopes in the transaction that is open, and makes sure that nobody else is
// about to have them: from then on whoever takes one over has to read past the claim, for
// which it has to wait until the transaction has ended, or to end it.
func (d *topicDesk) hold(
	ctx context.Context, id string, scopes map[checkpoint.Scope]*checkpoint.Position, write func([]*kgo.Record) error,
) error {
	list := slices.Collect(maps.Keys(scopes))
	before := d.topic.Known(list)
	if err := write(d.topic.Claim(id, scopes)); err != nil {
		return err
	}
	unstable, err := d.topic.unstable(ctx, d.topic.homesOf(list))
	other := false
	for _, by := range unstable {
		delete(by, id)
		other = other || len(by) > 0
	}
	if err == nil && (other || !reflect.DeepEqual(before, d.topic.Known(list))) {
		err = fmt.Errorf("%w: somebody else has begun with it just now", savepoint.ErrHeld)
	}
	return err
}

// abortPatience bounds how long a transaction may take to be given up.
const abortPatience = 10 * time.Second

// jobsIn lists the jobs that have something in a topic.
func jobsIn(ctx context.Context, client *kgo.Client, topic string) ([]string, error) {
	first := kafka.Partition{Topic: topic, ID: 0}
	ranges, err := kafka.Ranges(ctx, client, []kafka.Partition{first}, kafka.ReadCommitted)
	if err != nil {
		return nil, err
	}
	jobs := map[string]bool{}
	log := kafka.NewLog(client, kafka.Log{Partition: first, Isolation: kafka.ReadCommitted, MaxBytes: readBytes})
	for at := ranges[first].Start; at < ranges[first].End; {
		f, err := log.Fetch(ctx, at)
		if err != nil {
			return nil, err
		}
		for _, r := range f.Records {
			if len(r.Key) == 0 {
				continue
			}
			if job, rest, ok := cutName(r.Key[1:]); ok && string(rest) == string(jobTag) {
				jobs[job] = r.Value != nil
			}
		}
		at = max(f.Next, at+1)
	}
	maps.DeleteFunc(jobs, func(_ string, there bool) bool { return !there })
	return slices.Sorted(maps.Keys(jobs)), nil
}

// find says which job of a topic is meant.
func (p *TopicPlace) find(ctx context.Context, client *kgo.Client) error {
	jobs, err := jobsIn(ctx, client, p.Topic)
	switch {
	case err != nil:
		return err
	case len(jobs) == 0:
		return fmt.Errorf("%w in topic %q: it has no job", savepoint.ErrNoStore, p.Topic)
	case p.Job == "" && len(jobs) == 1:
		p.Job = jobs[0]
	case p.Job == "":
		return fmt.Errorf("topic %q holds the jobs %q: say which one is meant (--job)", p.Topic, jobs)
	case !slices.Contains(jobs, p.Job):
		return fmt.Errorf("%w of job %q in topic %q, which holds the jobs %q", savepoint.ErrNoStore, p.Job, p.Topic, jobs)
	}
	return nil
}
