package soak

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/go-zookeeper/zk"

	"github.com/tidemarkhq/tidemark/internal/kafkatest"
)

// lookEvery is how often nodes are looked at: far more often than they are written.
const lookEvery = 10 * time.Millisecond

// nodes follows the offsets that a group commits to ZooKeeper.
type nodes struct {
	r    *Rig
	conn *zk.Conn

	// mu is held for a look.
	mu sync.Mutex
	// versions are those seen of the partitions' nodes.
	versions map[int]int32
}

// followNodes tells the audit of what the group commits to ZooKeeper, until the test ends.
func (r *Rig) followNodes() *nodes {
	n := &nodes{r: r, conn: kafkatest.ZooKeeperSession(r.t, r.zooKeeper), versions: map[int]int32{}}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(lookEvery)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				_ = n.look() // who waits for a look of his own gets the error
			case <-ctx.Done():
				return
			}
		}
	}()
	r.t.Cleanup(func() {
		cancel()
		n.conn.Close()
		<-done
	})
	return n
}

// look tells the audit of what has changed.
func (n *nodes) look() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	for p := range n.r.Numbers.Partitions() {
		node := fmt.Sprintf("/consumers/%s/offsets/%s/%d", n.r.Group, n.r.Source, p)
		text, stat, err := n.conn.Get(node)
		switch {
		case errors.Is(err, zk.ErrNoNode):
			continue
		case err != nil:
			return fmt.Errorf("reading %s: %w", node, err)
		}
		if v, seen := n.versions[p]; seen && v == stat.Version {
			continue
		}
		n.versions[p] = stat.Version
		offset, err := strconv.ParseInt(string(text), 10, 64)
		if err != nil {
			n.r.Audit.Violate(Altered, "%s holds %q, which is not an offset", node, text)
			continue
		}
		ctx, cancel := n.r.context()
		ends, err := listEnds(ctx, n.r.targets, n.r.Target)
		cancel()
		end := int64(-1)
		if err == nil {
			end = ends[p]
		}
		n.r.Audit.Committed(int32(p), offset, time.UnixMilli(stat.Mtime), end)
	}
	return nil
}
