package kafkatest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// errCut ends the relaying of a connection that a rule cut.
var errCut = errors.New("cut by the test")

// link is one connection from a client to a broker.
type link struct {
	proxy  *Proxy
	client net.Conn
	// gone is closed by the first cut; nobody sends.
	gone chan struct{}

	mu struct {
		sync.Mutex
		cut    bool
		server net.Conn
		// open holds the requests that were not answered yet, by correlation id.
		open map[int32]Request
	}
}

func newLink(p *Proxy, client net.Conn) *link {
	l := &link{proxy: p, client: client, gone: make(chan struct{})}
	l.mu.open = map[int32]Request{}
	return l
}

// run relays both ways until one side ends or the link is cut.
func (l *link) run(server net.Conn) {
	l.mu.Lock()
	l.mu.server = server
	cut := l.mu.cut
	l.mu.Unlock()
	if cut {
		_ = server.Close()
		return
	}
	var both sync.WaitGroup
	both.Go(func() {
		defer l.cut()
		for l.request(server) == nil {
		}
	})
	both.Go(func() {
		defer l.cut()
		for l.answer(server) == nil {
		}
	})
	both.Wait()
}

// cut closes both sides.
func (l *link) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.mu.cut {
		return
	}
	l.mu.cut = true
	close(l.gone)
	_ = l.client.Close()
	if l.mu.server != nil {
		_ = l.mu.server.Close()
	}
}

// request passes one request on to the broker.
func (l *link) request(server net.Conn) error {
	// Size, key, version, correlation id and the length of the client id.
	head := make([]byte, 14)
	if _, err := io.ReadFull(l.client, head); err != nil {
		return fmt.Errorf("reading a request: %w", err)
	}
	rest := int64(binary.BigEndian.Uint32(head)) - 10
	r := Request{
		Key:     kmsg.Key(binary.BigEndian.Uint16(head[4:])),
		Version: int16(binary.BigEndian.Uint16(head[6:])),
	}
	if n := int64(int16(binary.BigEndian.Uint16(head[12:]))); n > 0 && n <= rest {
		head = slices.Grow(head, int(n))[:14+n]
		if _, err := io.ReadFull(l.client, head[14:]); err != nil {
			return fmt.Errorf("reading a client id: %w", err)
		}
		r.ClientID = string(head[14:])
		rest -= n
	}
	l.mu.Lock()
	l.mu.open[int32(binary.BigEndian.Uint32(head[8:]))] = r
	l.mu.Unlock()
	l.proxy.note(r)
	rules := l.proxy.rulesFor(r.Key, false)
	if len(rules) == 0 {
		return forward(server, head, l.client, rest)
	}
	// All of it is on its way by now, also if its client dies meanwhile.
	body := make([]byte, rest)
	if _, err := io.ReadFull(l.client, body); err != nil {
		return fmt.Errorf("reading a request: %w", err)
	}
	if !l.allowed(rules) {
		return errCut
	}
	return forward(server, slices.Concat(head, body), nil, 0)
}

// answer passes one answer on to the client.
func (l *link) answer(server net.Conn) error {
	// Size and correlation id.
	head := make([]byte, 8)
	if _, err := io.ReadFull(server, head); err != nil {
		return fmt.Errorf("reading an answer: %w", err)
	}
	rest := int64(binary.BigEndian.Uint32(head)) - 4
	id := int32(binary.BigEndian.Uint32(head[4:]))
	l.mu.Lock()
	r, known := l.mu.open[id]
	delete(l.mu.open, id)
	l.mu.Unlock()
	if known && !l.allowed(l.proxy.rulesFor(r.Key, true)) {
		return errCut
	}
	if !known || !namesBrokers(r.Key) {
		return forward(l.client, head, server, rest)
	}
	body := make([]byte, rest)
	if _, err := io.ReadFull(server, body); err != nil {
		return fmt.Errorf("reading an answer: %w", err)
	}
	if l.proxy.named(r.Key, body) {
		var err error
		if body, err = l.proxy.rename(r, body); err != nil {
			return err
		}
	}
	binary.BigEndian.PutUint32(head, uint32(len(body)+4))
	return forward(l.client, slices.Concat(head, body), nil, 0)
}

// allowed runs the rules for a frame.
func (l *link) allowed(rules []*rule) bool {
	for _, r := range rules {
		if !r.act(l.gone) {
			return false
		}
	}
	return true
}

// forward writes what was read of a frame and copies the rest of it.
func forward(to io.Writer, head []byte, from io.Reader, rest int64) error {
	if _, err := to.Write(head); err != nil {
		return fmt.Errorf("writing a frame: %w", err)
	}
	if rest > 0 {
		if _, err := io.CopyN(to, from, rest); err != nil {
			return fmt.Errorf("copying a frame: %w", err)
		}
	}
	return nil
}
