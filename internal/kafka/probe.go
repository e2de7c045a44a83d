package kafka

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// ProbeTimeout bounds a probe that is given no shorter time.
const ProbeTimeout = 8 * time.Second

// refusalPause is how long after a connection was closed without a word the next
// one is tried.
const refusalPause = 500 * time.Millisecond

// ErrUnauthenticated says that brokers end every connection without an answer
// when it comes to who the client is: one that wants SASL does so with a client
// that has none, an older one with wrong credentials.
var ErrUnauthenticated = errors.New("the broker closes the connection instead of authenticating it")

// Probe connects and asks for metadata, once per broker and all of them at the
// same time; the first answer is enough. Produce and poll say nothing about bad
// credentials, a wrong certificate or a dead address, so this does, within
// ProbeTimeout. The error names every address with its cause; Classify (Connect)
// tells whether it can pass by itself.
func Probe(ctx context.Context, cl *kgo.Client) error {
	ctx, cancel := context.WithTimeout(ctx, ProbeTimeout)
	defer cancel()
	seeds, _ := cl.OptValue(kgo.SeedBrokers).([]string)
	brokers := cl.SeedBrokers()
	results := make(chan error, len(brokers)) // each try sends once
	for i, b := range brokers {
		addr := fmt.Sprintf("seed broker %d", i)
		if i < len(seeds) {
			addr = seeds[i]
		}
		go func() { results <- probe(ctx, cl, b, addr) }()
	}
	var errs []error
	for range brokers {
		err := <-results
		if err == nil {
			return nil
		}
		errs = append(errs, err)
	}
	slices.SortFunc(errs, func(a, b error) int { return int(Classify(Connect, b).Meaning) - int(Classify(Connect, a).Meaning) })
	return errors.Join(errs...)
}

func probe(ctx context.Context, cl *kgo.Client, b *kgo.Broker, addr string) error {
	_, err := b.Request(ctx, noTopics())
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil && errors.Is(err, context.DeadlineExceeded):
		err = fmt.Errorf("no answer in %v: %w", ProbeTimeout, err)
	case errors.Is(err, io.EOF) && refusesUs(ctx, cl, addr):
		err = fmt.Errorf("%w (%w)", ErrUnauthenticated, err)
	}
	if refusal := Refusal(err, Mechanisms(cl)...); refusal != nil {
		err = refusal
	}
	return fmt.Errorf("connecting to %s: %w", addr, err)
}

// refusesUs tells a connection that was closed because of who we are from one that
// was closed before it came to that, which is about TLS, or a proxy with nothing
// behind it. A new client asks for versions first, so it knows how far it came;
// one that knows the versions already does not. It waits a moment, because a
// broker that goes down closes connections as well, but takes no new ones.
func refusesUs(ctx context.Context, cl *kgo.Client, addr string) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(refusalPause):
	}
	dial, _ := cl.OptValue(kgo.Dialer).(func(context.Context, string, string) (net.Conn, error))
	mechanisms := forClients(Mechanisms(cl)) // its own, because it closes them
	// Not with all of its options: a copy of a member would join the group.
	fresh, err := kgo.NewClient(kgo.SeedBrokers(addr), kgo.Dialer(dial), kgo.SASL(mechanisms...))
	if err != nil {
		return false
	}
	defer fresh.Close()
	_, err = fresh.SeedBrokers()[0].Request(ctx, noTopics())
	if len(mechanisms) > 0 {
		return errors.Is(err, io.EOF) && !typed[*kgo.ErrFirstReadEOF](err)
	}
	return typed[*kgo.ErrFirstReadEOF](err) && saying("when SASL is required")(err)
}

// Ask asks any broker for something that costs it nothing.
func Ask(ctx context.Context, cl *kgo.Client) error {
	ctx, cancel := context.WithTimeout(ctx, ProbeTimeout)
	defer cancel()
	_, err := cl.Request(ctx, noTopics())
	return err
}

// noTopics asks for the brokers only.
func noTopics() kmsg.Request {
	req := kmsg.NewPtrMetadataRequest()
	req.AllowAutoTopicCreation = false
	req.Topics = []kmsg.MetadataRequestTopic{}
	return req
}
