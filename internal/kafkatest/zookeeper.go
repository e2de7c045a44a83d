package kafkatest

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/go-zookeeper/zk"
)

const (
	pauses    = syscall.SIGSTOP
	continues = syscall.SIGCONT
)

// zookeeper is a ZooKeeper of one node, of the version that a release of Kafka brings along.
type zookeeper struct {
	dist *distribution
	home string
	port int
	proc *process
}

func (z *zookeeper) address() string { return fmt.Sprintf("127.0.0.1:%d", z.port) }

// start has ZooKeeper running, and without what a broker that was killed has left in it:
// until its session has ended, its successor cannot register or leads nothing.
func (z *zookeeper) start() error {
	if z.proc.ended() {
		if err := z.launch(); err != nil {
			return err
		}
	}
	err := poll(startTime, func() error {
		sessions, err := z.ask("dump")
		switch {
		case err != nil:
			return err
		case !strings.Contains(sessions, "SessionTracker dump") && !strings.Contains(sessions, "Sessions with Ephemerals"):
			return fmt.Errorf("it answers %q", sessions)
		case strings.Contains(sessions, "/brokers/ids/") || strings.Contains(sessions, "/controller\n"):
			return errors.New("the session of the broker before has not ended")
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("waiting for ZooKeeper: %w", err)
	}
	return nil
}

// launch starts the process and waits until it serves.
func (z *zookeeper) launch() error {
	conf := filepath.Join(z.home, "zoo.cfg")
	text := fmt.Sprintf(`dataDir=%s
clientPort=%d
clientPortAddress=127.0.0.1
tickTime=500
minSessionTimeout=1000
maxSessionTimeout=60000
maxClientCnxns=0
admin.enableServer=false
4lw.commands.whitelist=*
`, filepath.Join(z.home, "data"), z.port)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		return fmt.Errorf("writing ZooKeeper's configuration: %w", err)
	}
	log, err := os.OpenFile(filepath.Join(z.home, "zookeeper.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("opening ZooKeeper's log: %w", err)
	}
	defer log.Close()
	cmd := exec.Command(z.dist.java, append(z.dist.jvm(), "org.apache.zookeeper.server.quorum.QuorumPeerMain", conf)...)
	cmd.Stdout, cmd.Stderr, cmd.Dir = log, log, z.home
	if z.proc, err = launch(cmd); err != nil {
		return err
	}
	err = poll(startTime, func() error {
		if z.proc.ended() {
			return nil
		}
		answer, err := z.ask("ruok")
		if err == nil && answer != "imok" {
			err = fmt.Errorf("it answers %q", answer)
		}
		return err
	})
	if err == nil && z.proc.ended() {
		err = errors.New("it ended")
	}
	if err != nil {
		said, _ := os.ReadFile(log.Name())
		return fmt.Errorf("waiting for ZooKeeper: %w; the end of its log:\n%s", err, lastLines(said, 40))
	}
	return nil
}

// ask sends one of ZooKeeper's four-letter commands.
func (z *zookeeper) ask(command string) (string, error) {
	conn, err := net.DialTimeout("tcp", z.address(), 2*time.Second)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(2 * time.Second))
	if _, err := io.WriteString(conn, command); err != nil {
		return "", err
	}
	answer, err := io.ReadAll(conn)
	return string(answer), err
}

func (z *zookeeper) signal(t testing.TB, s syscall.Signal) {
	t.Helper()
	if err := z.proc.signal(s); err != nil {
		t.Fatalf("sending %v to ZooKeeper: %v", s, err)
	}
}

// quiet keeps the client's log from the test's.
type quiet struct{}

func (quiet) Printf(string, ...any) {}

// ZooKeeperSession returns a session at a broker's ZooKeeper; the caller closes it.
func ZooKeeperSession(t testing.TB, b *Broker) *zk.Conn {
	t.Helper()
	conn, events, err := zk.Connect([]string{b.ZooKeeper()}, 10*time.Second, zk.WithLogger(quiet{}))
	if err != nil {
		t.Fatalf("connecting to ZooKeeper: %v", err)
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for {
		select {
		case e := <-events:
			if e.State == zk.StateHasSession {
				return conn
			}
		case <-timer.C:
			conn.Close()
			t.Fatalf("connecting to ZooKeeper at %s: no session within %v", b.ZooKeeper(), patience)
		}
	}
}

// withZooKeeper runs fn with a session at a broker's ZooKeeper.
func withZooKeeper(t testing.TB, b *Broker, doing string, fn func(*zk.Conn) error) {
	t.Helper()
	conn := ZooKeeperSession(t, b)
	defer conn.Close()
	if err := fn(conn); err != nil {
		t.Fatalf("%s: %v", doing, err)
	}
}

// Node returns the text of a node in a broker's ZooKeeper; ok is false if there is none.
func Node(t testing.TB, b *Broker, node string) (text string, ok bool) {
	t.Helper()
	withZooKeeper(t, b, "reading "+node, func(c *zk.Conn) error {
		data, _, err := c.Get(node)
		if errors.Is(err, zk.ErrNoNode) {
			return nil
		}
		text, ok = string(data), err == nil
		return err
	})
	return text, ok
}

// SetNode gives a node in a broker's ZooKeeper a text, and makes it with its parents if it
// is not there.
func SetNode(t testing.TB, b *Broker, node, text string) {
	t.Helper()
	withZooKeeper(t, b, "writing "+node, func(c *zk.Conn) error {
		_, err := c.Set(node, []byte(text), -1)
		if errors.Is(err, zk.ErrNoNode) {
			err = makeNode(c, node, text)
		}
		return err
	})
}

func makeNode(c *zk.Conn, node, text string) error {
	_, err := c.Create(node, []byte(text), 0, zk.WorldACL(zk.PermAll))
	if errors.Is(err, zk.ErrNoNode) {
		if err := makeNode(c, path.Dir(node), ""); err != nil && !errors.Is(err, zk.ErrNodeExists) {
			return err
		}
		_, err = c.Create(node, []byte(text), 0, zk.WorldACL(zk.PermAll))
	}
	return err
}

// createTopicNodes makes a topic by the nodes that the controller watches: brokers before
// 0.10.1 have no request for it.
func createTopicNodes(t testing.TB, b *Broker, name string, partitions int, configs map[string]*string) {
	t.Helper()
	assigned := map[int][]int{}
	for p := range partitions {
		assigned[p] = []int{0}
	}
	topic, err := json.Marshal(map[string]any{"version": 1, "partitions": assigned})
	if err != nil {
		t.Fatalf("creating topic %q: %v", name, err)
	}
	if configs == nil {
		configs = map[string]*string{}
	}
	conf, err := json.Marshal(map[string]any{"version": 1, "config": configs})
	if err != nil {
		t.Fatalf("creating topic %q: %v", name, err)
	}
	withZooKeeper(t, b, "creating topic "+name, func(c *zk.Conn) error {
		if err := makeNode(c, "/config/topics/"+name, string(conf)); err != nil {
			return err
		}
		return makeNode(c, "/brokers/topics/"+name, string(topic))
	})
}
