package connection

import (
	"context"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl"

	"github.com/tidemarkhq/tidemark/internal/kafka"
)

const (
	// askEvery is how often a client that has to authenticate is asked whether it still
	// can: one that carries nothing at the moment would not notice.
	askEvery = 5 * time.Second
	// refusedFor is how long a refusal counts that is neither repeated nor made good:
	// the client may not need that broker any more.
	refusedFor = 30 * time.Second
)

// watch says that brokers, or a KDC or a token endpoint, have begun to refuse a
// component that worked. The client itself goes on trying and keeps that to itself, and
// whoever reads or writes with it only sees that nothing comes. At the start Connect
// says it.
type watch struct {
	log *service.Logger
	// refusing counts the brokers.
	refusing *service.MetricGauge
	// mechanisms of the clients; without any there is nothing to ask them.
	mechanisms []sasl.Mechanism

	mu struct {
		sync.Mutex
		clients []*kgo.Client
		// stop ends the goroutine that asks, which lives as long as there is a client, and
		// returns when it has.
		stop   func()
		worked bool
		// refused is when a broker last did, and why.
		refused map[string]refused
		since   time.Time
		said    Patience
	}
}

type refused struct {
	at  time.Time
	err error
}

var (
	_ kgo.HookNewClient     = (*watch)(nil)
	_ kgo.HookClientClosed  = (*watch)(nil)
	_ kgo.HookBrokerConnect = (*watch)(nil)
)

func newWatch(res *service.Resources, mechanisms []sasl.Mechanism) *watch {
	w := &watch{log: res.Logger(), refusing: res.Metrics().NewGauge("tidemark_brokers_refusing"), mechanisms: mechanisms}
	w.mu.refused = map[string]refused{}
	return w
}

// OnNewClient implements kgo.HookNewClient.
func (w *watch) OnNewClient(cl *kgo.Client) {
	if len(w.mechanisms) == 0 {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.mu.clients = append(w.mu.clients, cl)
	if len(w.mu.clients) > 1 {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	w.mu.stop = func() {
		cancel()
		<-done
	}
	go func() {
		defer close(done)
		w.ask(ctx)
	}()
}

// OnClientClosed implements kgo.HookClientClosed.
func (w *watch) OnClientClosed(cl *kgo.Client) {
	if stop := w.leave(cl); stop != nil {
		stop() // With no lock held: who asks needs it.
	}
}

// leave forgets a client; after the last one there is somebody to stop.
func (w *watch) leave(cl *kgo.Client) (stop func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	i := slices.Index(w.mu.clients, cl)
	if i < 0 {
		return nil
	}
	if w.mu.clients = slices.Delete(w.mu.clients, i, i+1); len(w.mu.clients) > 0 {
		return nil
	}
	return w.mu.stop
}

// ask has the oldest client authenticate, if it has to: it does that before a request,
// whether on a connection that is there or on a new one, and the hooks see how that
// goes.
func (w *watch) ask(ctx context.Context) {
	tick := time.NewTicker(askEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		w.mu.Lock()
		var cl *kgo.Client
		if len(w.mu.clients) > 0 {
			cl = w.mu.clients[0]
		}
		w.mu.Unlock()
		if cl != nil && kafka.Ask(ctx, cl) == nil {
			w.works("")
		}
	}
}

// OnBrokerConnect implements kgo.HookBrokerConnect.
func (w *watch) OnBrokerConnect(meta kgo.BrokerMetadata, _ time.Duration, _ net.Conn, err error) {
	if err == nil {
		w.works(broker(meta))
		return
	}
	if err = kafka.Refusal(err, w.mechanisms...); err == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	if len(w.mu.refused) == 0 {
		w.mu.since = now
	}
	w.mu.refused[broker(meta)] = refused{now, err}
	w.refusing.Set(int64(len(w.mu.refused)))
	if w.mu.worked && w.mu.said.due(err) {
		w.log.Errorf("No new connection to broker %s at %s: %v; trying again", broker(meta), meta.Host, err)
	}
}

// works notes that a connection to a broker could be made; or, without one, that one
// that there was before still serves, which says nothing about new ones.
func (w *watch) works(broker string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.mu.worked = true
	if len(w.mu.refused) == 0 {
		return
	}
	for b, r := range w.mu.refused {
		if b == broker || broker != "" && kafka.IsCredential(r.err) || time.Since(r.at) > refusedFor {
			delete(w.mu.refused, b)
		}
	}
	w.refusing.Set(int64(len(w.mu.refused)))
	if len(w.mu.refused) == 0 {
		w.log.Infof("Brokers take new connections again, after %v", time.Since(w.mu.since).Round(time.Second))
		w.mu.said = Patience{}
	}
}
