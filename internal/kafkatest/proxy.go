package kafkatest

import (
	"context"
	"fmt"
	"maps"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Proxy stands between clients and brokers, on the level of Kafka's requests. It
// rewrites the brokers' addresses in their answers, so clients that are given its
// Seeds make all their connections through it. Several proxies may stand before
// the same brokers, each with its own faults. It cannot read TLS, nor SASL older
// than SaslAuthenticate.
//
// Kafka answers the requests of one connection in order, so whatever waits holds
// up everything behind it on its connection; clients have connections of their
// own for producing, fetching and joining groups, and one for everything else,
// heartbeats and offset commits included.
type Proxy struct {
	t       testing.TB
	net     network
	seeds   []string
	running sync.WaitGroup

	mu struct {
		sync.Mutex
		closed   bool
		down     bool
		fronts   map[string]*front
		links    map[*link]struct{}
		rules    []*rule
		requests map[Request]int
	}
}

var _ Endpoint = (*Proxy)(nil)

// Request is what a proxy tells requests apart by.
type Request struct {
	Key      kmsg.Key
	Version  int16
	ClientID string
}

// rule says what happens to requests, or to answers, of some keys.
type rule struct {
	keys    []kmsg.Key
	answers bool
	// act runs before the frame goes on and may wait, but not longer than until
	// gone is closed. If it returns false, the connection is cut instead.
	act func(gone <-chan struct{}) bool
}

// front is the proxy's side of one broker.
type front struct {
	listener net.Listener
	broker   string
}

// NewProxy puts a proxy before e; it ends with the test.
func NewProxy(t testing.TB, e Endpoint) *Proxy {
	t.Helper()
	p := &Proxy{t: t, net: e.network()}
	p.mu.fronts = map[string]*front{}
	p.mu.links = map[*link]struct{}{}
	p.mu.requests = map[Request]int{}
	t.Cleanup(p.close)
	for _, broker := range e.Seeds() {
		seed, err := p.frontFor(broker)
		if err != nil {
			t.Fatalf("starting a proxy: %v", err)
		}
		p.seeds = append(p.seeds, seed)
	}
	return p
}

// Seeds implements Endpoint.
func (p *Proxy) Seeds() []string { return p.seeds }

// ClientOptions implements Endpoint.
func (p *Proxy) ClientOptions() []kgo.Opt {
	return append([]kgo.Opt{kgo.SeedBrokers(p.seeds...), kgo.Dialer(p.net.dial)}, p.net.options...)
}

func (p *Proxy) network() network { return p.net }

// Count returns how many requests of a key have come in so far.
func (p *Proxy) Count(key kmsg.Key) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := 0
	for r, count := range p.mu.requests {
		if r.Key == key {
			n += count
		}
	}
	return n
}

// Requests returns the requests that have come in so far, counted.
func (p *Proxy) Requests() map[Request]int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return maps.Clone(p.mu.requests)
}

// ClientIDs returns the client ids seen so far, sorted.
func (p *Proxy) ClientIDs() []string {
	var ids []string
	for r := range p.Requests() {
		ids = append(ids, r.ClientID)
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// HoldRequests keeps requests of the given keys from the brokers until the hold is
// released. A request that is held when its client dies still reaches the broker
// on Release, as one under way on a real network may; Drop throws it away.
func (p *Proxy) HoldRequests(keys ...kmsg.Key) *Hold { return p.hold(false, keys) }

// HoldAnswers keeps the answers to requests of the given keys from the clients
// until the hold is released: the broker has done what they asked.
func (p *Proxy) HoldAnswers(keys ...kmsg.Key) *Hold { return p.hold(true, keys) }

func (p *Proxy) hold(answers bool, keys []kmsg.Key) *Hold {
	h := newHold()
	p.add(&rule{keys: keys, answers: answers, act: func(gone <-chan struct{}) bool {
		select {
		case <-h.released:
			return true
		default:
		}
		h.add()
		select {
		case <-h.released:
			return !h.drops()
		case <-gone:
			return false
		}
	}})
	return h
}

// Delay makes every request of the given keys wait for d before it goes on to its
// broker, until end is called.
func (p *Proxy) Delay(d time.Duration, keys ...kmsg.Key) (end func()) {
	r := &rule{keys: keys, act: func(gone <-chan struct{}) bool { return waits(d, gone) }}
	p.add(r)
	return func() { p.remove(r) }
}

// CutAnswer cuts the connection instead of passing on the answer to the n-th
// request of a key from now on (the next one is the first): the broker has done
// what it asked, and the client cannot know.
func (p *Proxy) CutAnswer(key kmsg.Key, n int) {
	is := nth(n)
	p.add(&rule{keys: []kmsg.Key{key}, answers: true, act: func(<-chan struct{}) bool { return !is() }})
}

// CutRequest is CutAnswer for the request: the broker never gets it.
func (p *Proxy) CutRequest(key kmsg.Key, n int) {
	is := nth(n)
	p.add(&rule{keys: []kmsg.Key{key}, act: func(<-chan struct{}) bool { return !is() }})
}

// DelayRequest is Delay for the n-th request of a key from now on.
func (p *Proxy) DelayRequest(d time.Duration, key kmsg.Key, n int) {
	is := nth(n)
	p.add(&rule{keys: []kmsg.Key{key}, act: func(gone <-chan struct{}) bool { return !is() || waits(d, gone) }})
}

// nth returns a function that is true when it is called for the n-th time.
func nth(n int) func() bool {
	var calls atomic.Int64
	return func() bool { return calls.Add(1) == int64(n) }
}

// waits returns false if the connection ends before d has passed.
func waits(d time.Duration, gone <-chan struct{}) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-gone:
		return false
	}
}

// Cut closes all connections; clients may connect again.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cutLocked()
}

// Down cuts all connections, and new ones at once, until Up.
func (p *Proxy) Down() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.down = true
	p.cutLocked()
}

// Up ends Down.
func (p *Proxy) Up() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.down = false
}

func (p *Proxy) cutLocked() {
	for l := range p.mu.links {
		l.cut()
	}
}

func (p *Proxy) add(r *rule) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.rules = append(p.mu.rules, r)
}

func (p *Proxy) remove(r *rule) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.rules = slices.DeleteFunc(p.mu.rules, func(o *rule) bool { return o == r })
}

// rulesFor returns the rules for a frame, in the order they were made.
func (p *Proxy) rulesFor(key kmsg.Key, answers bool) []*rule {
	p.mu.Lock()
	defer p.mu.Unlock()
	var rules []*rule
	for _, r := range p.mu.rules {
		if r.answers == answers && slices.Contains(r.keys, key) {
			rules = append(rules, r)
		}
	}
	return rules
}

func (p *Proxy) note(r Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.requests[r]++
}

// frontFor returns the address that clients reach a broker at.
func (p *Proxy) frontFor(broker string) (string, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f := p.mu.fronts[broker]
	if f == nil {
		if p.mu.closed {
			return "", net.ErrClosed
		}
		l, err := p.net.listen()
		if err != nil {
			return "", fmt.Errorf("listening for broker %s: %w", broker, err)
		}
		f = &front{listener: l, broker: broker}
		p.mu.fronts[broker] = f
		p.running.Go(func() { p.accept(f) })
	}
	return f.listener.Addr().String(), nil
}

// hosts returns the hosts of the brokers that are known so far.
func (p *Proxy) hosts() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var hosts []string
	for broker := range p.mu.fronts {
		if host, _, err := net.SplitHostPort(broker); err == nil && !slices.Contains(hosts, host) {
			hosts = append(hosts, host)
		}
	}
	return hosts
}

func (p *Proxy) accept(f *front) {
	for {
		client, err := f.listener.Accept()
		if err != nil {
			return
		}
		p.running.Go(func() { p.serve(client, f.broker) })
	}
}

// serve relays one connection until either side ends it.
func (p *Proxy) serve(client net.Conn, broker string) {
	l := newLink(p, client)
	if !p.enter(l) {
		l.cut()
		return
	}
	defer p.leave(l)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	server, err := p.net.dial(ctx, "tcp", broker)
	if err != nil {
		l.cut()
		return
	}
	l.run(server)
}

func (p *Proxy) enter(l *link) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mu.down || p.mu.closed {
		return false
	}
	p.mu.links[l] = struct{}{}
	return true
}

func (p *Proxy) leave(l *link) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.mu.links, l)
}

func (p *Proxy) close() {
	p.mu.Lock()
	p.mu.closed = true
	for _, f := range p.mu.fronts {
		_ = f.listener.Close()
	}
	p.cutLocked()
	p.mu.Unlock()
	p.running.Wait()
}
