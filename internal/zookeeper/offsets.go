package zookeeper

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/go-zookeeper/zk"

	"github.com/tidemarkhq/tidemark/internal/kafka"
)

// Offsets are those of one group.
type Offsets struct {
	conf    Config
	servers string
	root    string
	conn    *zk.Conn
	acl     []zk.ACL
	// atOnce has room for as many requests as are under way at the same time.
	atOnce chan struct{}

	mu struct {
		sync.Mutex
		// versions are those of nodes as they were written or read last; without one it has
		// to be looked up.
		versions map[kafka.Partition]int32
	}
}

// most is how many requests are under way at a time.
const most = 32

// ErrAuth says that ZooKeeper does not let us do it. No retry heals that.
var ErrAuth = errors.New("ZooKeeper refuses access: check zookeeper_auth, and the ACL of the nodes")

// Open makes a session, or fails when ctx ends: to the client a wrong address is an outage.
func Open(ctx context.Context, conf Config) (*Offsets, error) {
	if err := conf.Validate(); err != nil {
		return nil, err
	}
	servers, root, err := ParseConnect(conf.Connect)
	if err != nil {
		return nil, err
	}
	o := &Offsets{
		conf: conf, servers: strings.Join(servers, ","), root: root, acl: zk.WorldACL(zk.PermAll), atOnce: make(chan struct{}, most),
	}
	o.mu.versions = map[kafka.Partition]int32{}
	conn, events, err := zk.Connect(servers, sessionTimeout, zk.WithLogger(logger(conf.Debugf)), zk.WithDialer(conf.dialer()))
	if err != nil {
		return nil, fmt.Errorf("connecting to ZooKeeper at %s: %w", o.servers, err)
	}
	o.conn = conn
	if err := o.begin(ctx, events); err != nil {
		conn.Close()
		return nil, err
	}
	return o, nil
}

// begin waits for a session, and authenticates.
func (o *Offsets) begin(ctx context.Context, events <-chan zk.Event) error {
	for session := false; !session; {
		select {
		case e := <-events:
			session = e.State == zk.StateHasSession
		case <-ctx.Done():
			return fmt.Errorf("connecting to ZooKeeper at %s: no server gave a session: %w", o.servers, context.Cause(ctx))
		}
	}
	if o.conf.User == "" {
		return nil
	}
	// Whoever knows the password may do everything, all others may look.
	o.acl = append(zk.AuthACL(zk.PermAll), zk.WorldACL(zk.PermRead)...)
	// It is sent again with every new connection.
	_, err := await(ctx, func() (struct{}, error) {
		return struct{}{}, o.conn.AddAuth("digest", []byte(o.conf.User+":"+o.conf.Password))
	})
	if err != nil {
		return fmt.Errorf("authenticating to ZooKeeper at %s: %w", o.servers, meaning(err))
	}
	return nil
}

// dialer has the client open connections as Kafka's do.
func (c Config) dialer() zk.Dialer {
	dial := c.Dial
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	return func(network, address string, _ time.Duration) (net.Conn, error) {
		ctx, cancel := context.WithTimeout(context.Background(), dialTimeout)
		defer cancel()
		return dial(ctx, network, address)
	}
}

// logger hands on what the client says.
type logger func(format string, args ...any)

// Printf implements zk.Logger.
func (l logger) Printf(format string, args ...any) {
	if l != nil {
		l("ZooKeeper: "+format, args...)
	}
}

// Close ends the session. Requests under way fail.
func (o *Offsets) Close() { o.conn.Close() }

// await runs one request, which has no context of its own: it waits for the connection to come
// back. What becomes of it after ctx has ended is not known.
func await[T any](ctx context.Context, request func() (T, error)) (T, error) {
	type result struct {
		value T
		err   error
	}
	done := make(chan result, 1)
	go func() {
		v, err := request()
		done <- result{v, err}
	}()
	select {
	case r := <-done:
		return r.value, r.err
	case <-ctx.Done():
		var none T
		return none, context.Cause(ctx)
	}
}

// meaning marks the errors that no retry heals.
func meaning(err error) error {
	if errors.Is(err, zk.ErrAuthFailed) || errors.Is(err, zk.ErrNoAuth) || errors.Is(err, zk.ErrInvalidACL) {
		return fmt.Errorf("%w: %w", ErrAuth, err)
	}
	return err
}

func (o *Offsets) node(p kafka.Partition) string {
	return o.root + path.Join("/consumers", o.conf.Group, "offsets", p.Topic, strconv.Itoa(int(p.ID)))
}

// each calls f for partitions, several at a time, and returns the errors by partition.
func (o *Offsets) each(ctx context.Context, parts []kafka.Partition, f func(kafka.Partition) error) map[kafka.Partition]error {
	var mu sync.Mutex
	failed := map[kafka.Partition]error{}
	var all sync.WaitGroup
	for _, p := range parts {
		all.Go(func() {
			var err error
			select {
			case o.atOnce <- struct{}{}:
				err = f(p)
				<-o.atOnce
			case <-ctx.Done():
				err = context.Cause(ctx)
			}
			if err != nil {
				mu.Lock()
				defer mu.Unlock()
				failed[p] = meaning(err)
			}
		})
	}
	all.Wait()
	return failed
}

// Fetch returns the committed offsets; a partition without one is not among them. The epoch
// of their leaders is not known.
func (o *Offsets) Fetch(ctx context.Context, parts []kafka.Partition) (map[kafka.Partition]kafka.Committed, error) {
	var mu sync.Mutex
	found := map[kafka.Partition]kafka.Committed{}
	failed := o.each(ctx, parts, func(p kafka.Partition) error {
		n, err := o.read(ctx, p)
		if err != nil || !n.there {
			return err
		}
		offset, err := strconv.ParseInt(strings.TrimSpace(n.text), 10, 64)
		if err != nil || offset < 0 {
			return fmt.Errorf("the node %s holds %q, which is not an offset", o.node(p), n.text)
		}
		mu.Lock()
		defer mu.Unlock()
		found[p] = kafka.Committed{Position: kafka.Position{Offset: offset, LeaderEpoch: kafka.UnknownEpoch}}
		return nil
	})
	for p, err := range failed {
		return nil, fmt.Errorf("reading the offset of group %q for %v from ZooKeeper at %s: %w", o.conf.Group, p, o.servers, err)
	}
	return found, nil
}

// read is one look at a node, whose version is remembered.
type read struct {
	text    string
	version int32
	there   bool
}

func (o *Offsets) read(ctx context.Context, p kafka.Partition) (read, error) {
	n, err := await(ctx, func() (read, error) {
		data, stat, err := o.conn.Get(o.node(p))
		switch {
		case errors.Is(err, zk.ErrNoNode):
			return read{}, nil
		case err != nil:
			return read{}, err
		}
		return read{string(data), stat.Version, true}, nil
	})
	if err == nil && n.there {
		o.remember(p, n.version)
	}
	return n, err
}

func (o *Offsets) remember(p kafka.Partition, version int32) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.mu.versions[p] = version
}

func (o *Offsets) forget(p kafka.Partition) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.mu.versions, p)
}

func (o *Offsets) remembered(p kafka.Partition) (int32, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	v, ok := o.mu.versions[p]
	return v, ok
}

// Commit writes offsets; their metadata have no place there. Partitions that failed are in a
// *kafka.CommitError. It is called by one goroutine at a time for a partition.
func (o *Offsets) Commit(ctx context.Context, offsets map[kafka.Partition]kafka.Committed) error {
	parts := make([]kafka.Partition, 0, len(offsets))
	for p := range offsets {
		parts = append(parts, p)
	}
	failed := o.each(ctx, parts, func(p kafka.Partition) error {
		return o.write(ctx, p, strconv.FormatInt(offsets[p].Offset, 10))
	})
	if len(failed) == 0 {
		return nil
	}
	return &kafka.CommitError{Group: o.conf.Group, Partitions: failed}
}

// tries bounds how often a node is written that others write at the same time.
const tries = 10

// write gives a node its text.
func (o *Offsets) write(ctx context.Context, p kafka.Partition, text string) error {
	for range tries {
		version, known := o.remembered(p)
		if !known {
			n, err := o.read(ctx, p)
			if err != nil {
				return err
			}
			if !n.there {
				err := o.create(ctx, o.node(p), text)
				if errors.Is(err, zk.ErrNodeExists) {
					continue // Somebody else, or an attempt of ours that was taken for lost.
				}
				if err == nil {
					o.remember(p, 0)
				}
				return err
			}
			version = n.version
		}
		stat, err := await(ctx, func() (*zk.Stat, error) { return o.conn.Set(o.node(p), []byte(text), version) })
		if err == nil {
			o.remember(p, stat.Version)
			return nil
		}
		// Written by somebody else, deleted, or nobody knows.
		o.forget(p)
		if !errors.Is(err, zk.ErrBadVersion) && !errors.Is(err, zk.ErrNoNode) {
			return err
		}
	}
	return fmt.Errorf("the node %s is written by others all the time: is another consumer of group %q running?", o.node(p), o.conf.Group)
}

// create makes a node, and those above it, as Kafka's own consumers do.
func (o *Offsets) create(ctx context.Context, node, text string) error {
	err := o.createOne(ctx, node, text)
	if !errors.Is(err, zk.ErrNoNode) {
		return err
	}
	if above := path.Dir(node); above == "/" || above == o.root {
		return fmt.Errorf("the path %q of zookeeper_connect does not exist: correct it, or create it: %w", o.root, err)
	}
	if err := o.create(ctx, path.Dir(node), ""); err != nil && !errors.Is(err, zk.ErrNodeExists) {
		return err
	}
	return o.createOne(ctx, node, text)
}

func (o *Offsets) createOne(ctx context.Context, node, text string) error {
	_, err := await(ctx, func() (string, error) { return o.conn.Create(node, []byte(text), 0, o.acl) })
	return err
}
