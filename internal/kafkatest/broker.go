package kafkatest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// startTime bounds the start and the end of a broker: seconds on an idle machine,
// but a busy one has been seen to take half a minute.
const startTime = 3 * time.Minute

// Broker is an Apache Kafka of one node in a process of its own: broker and
// controller in one, or a broker beside its ZooKeeper.
type Broker struct {
	t    testing.TB
	dist *distribution
	// home holds the broker's configuration and log, and its data unless a property
	// says otherwise.
	home  string
	port  int
	props map[string]string
	// jvm are further arguments for its JVM.
	jvm  []string
	proc *process
	// zk is what a broker of Old keeps its metadata in; nil = it is its own controller.
	zk *zookeeper
	// said is how long its log was when it was last started.
	said int64
}

var _ Endpoint = (*Broker)(nil)

// Real starts a broker of this test's own and kills it at the end. Props are lines
// of server.properties, "name=value", and win over what this package sets: small
// internal topics, groups that do not wait for more members, session time-outs
// down to a second, and little memory. log.dirs names a folder for the data, else
// it is gone with the test.
//
// Where Kafka cannot be had the test is skipped, or fails with CI=true.
func Real(t testing.TB, version string, props ...string) *Broker {
	t.Helper()
	b, err := newBroker(version, t.TempDir(), props)
	return b.run(t, err)
}

// run starts a broker, which the test kills at its end, unless err tells that there is
// none.
func (b *Broker) run(t testing.TB, err error) *Broker {
	t.Helper()
	if err == nil {
		b.t = t
		t.Cleanup(func() {
			b.proc.kill()
			if b.zk != nil {
				b.zk.proc.kill()
			}
			b.logFailure(t)
		})
		err = b.start()
	}
	if err != nil {
		giveUp(t, err)
	}
	return b
}

// giveUp ends a test that cannot have its broker.
func giveUp(t testing.TB, err error) {
	t.Helper()
	if ci, _ := strconv.ParseBool(os.Getenv("CI")); ci || !errors.Is(err, errMissing) {
		t.Fatalf("starting Kafka: %v", err)
	}
	t.Skipf("SKIPPED: %v", err)
}

// newBroker prepares a broker without starting it.
func newBroker(version, home string, props []string) (*Broker, error) {
	dist, err := install(version)
	if err != nil {
		return nil, err
	}
	return dist.broker(home, props)
}

// broker prepares a broker of the distribution.
func (d *distribution) broker(home string, props []string) (*Broker, error) {
	port, err := reservePorts()
	if err != nil {
		return nil, err
	}
	b := &Broker{dist: d, home: home, port: port, proc: noProcess()}
	if err := b.configure(b.defaults(), props); err != nil {
		return nil, err
	}
	return b, d.prepare(b.props["log.dirs"])
}

// configure gives the broker its properties, of which those of the test win.
func (b *Broker) configure(defaults map[string]string, props []string) error {
	b.props = defaults
	for _, p := range props {
		k, v, ok := strings.Cut(p, "=")
		if !ok {
			return fmt.Errorf("reading property %q: it is not name=value", p)
		}
		b.props[k] = v
	}
	return nil
}

func (b *Broker) defaults() map[string]string {
	broker, controller := fmt.Sprintf("127.0.0.1:%d", b.port), fmt.Sprintf("127.0.0.1:%d", b.port+1)
	return map[string]string{
		"process.roles":                                    "broker,controller",
		"node.id":                                          "1",
		"controller.quorum.voters":                         "1@" + controller,
		"listeners":                                        "PLAINTEXT://" + broker + ",CONTROLLER://" + controller,
		"advertised.listeners":                             "PLAINTEXT://" + broker,
		"controller.listener.names":                        "CONTROLLER",
		"inter.broker.listener.name":                       "PLAINTEXT",
		"log.dirs":                                         filepath.Join(b.home, "data"),
		"offsets.topic.replication.factor":                 "1",
		"offsets.topic.num.partitions":                     "4",
		"transaction.state.log.replication.factor":         "1",
		"transaction.state.log.num.partitions":             "4",
		"transaction.state.log.min.isr":                    "1",
		"share.coordinator.state.topic.replication.factor": "1",
		"share.coordinator.state.topic.min.isr":            "1",
		"group.initial.rebalance.delay.ms":                 "0",
		"group.min.session.timeout.ms":                     "1000",
		// Of groups of the consumer protocol the broker says how patient it is.
		"group.consumer.heartbeat.interval.ms":     "500",
		"group.consumer.min.heartbeat.interval.ms": "500",
		"group.consumer.session.timeout.ms":        "6000",
		"group.consumer.min.session.timeout.ms":    "6000",
		// Until the session of a killed broker has ended, its successor may not register.
		"broker.session.timeout.ms":    "3000",
		"broker.heartbeat.interval.ms": "500",
		// A broker that starts reads them whole, and clients wait for that.
		"offsets.topic.segment.bytes":         "1048576",
		"transaction.state.log.segment.bytes": "1048576",
		// The cleaner's buffer alone would take a quarter of the heap.
		"log.cleaner.dedupe.buffer.size": "8388608",
		"num.io.threads":                 "4",
		"background.threads":             "2",
	}
}

// Start starts the broker again, on the same data and port, and waits until it
// serves.
func (b *Broker) Start() {
	b.t.Helper()
	if err := b.start(); err != nil {
		b.t.Fatalf("starting Kafka: %v", err)
	}
}

// Stop ends the broker in good order.
func (b *Broker) Stop() {
	b.t.Helper()
	if !b.proc.stop(startTime) {
		b.t.Fatalf("stopping Kafka: it did not end within %v", startTime)
	}
}

// Kill9 ends the broker at once, as a crash of its process would.
func (b *Broker) Kill9() { b.proc.kill() }

// Pause freezes the broker: connections stay, nothing is answered.
func (b *Broker) Pause() { b.signal(syscall.SIGSTOP) }

// Continue ends Pause.
func (b *Broker) Continue() { b.signal(syscall.SIGCONT) }

func (b *Broker) signal(s syscall.Signal) {
	b.t.Helper()
	if err := b.proc.signal(s); err != nil {
		b.t.Fatalf("sending %v to Kafka: %v", s, err)
	}
}

// Seeds implements Endpoint.
func (b *Broker) Seeds() []string { return []string{fmt.Sprintf("127.0.0.1:%d", b.port)} }

// ClientOptions implements Endpoint.
func (b *Broker) ClientOptions() []kgo.Opt {
	return append([]kgo.Opt{kgo.SeedBrokers(b.Seeds()...)}, b.dist.version.pin()...)
}

func (b *Broker) network() network {
	n := tcp()
	n.options = b.dist.version.pin()
	return n
}

// start starts the broker, with further arguments for its JVM, and waits until it
// serves.
func (b *Broker) start(jvm ...string) error {
	if !b.proc.ended() {
		return errors.New("it is running already")
	}
	if b.zk != nil {
		if err := b.zk.start(); err != nil {
			return err
		}
	}
	var lines strings.Builder
	for _, k := range slices.Sorted(maps.Keys(b.props)) {
		fmt.Fprintf(&lines, "%s=%s\n", k, b.props[k])
	}
	conf := filepath.Join(b.home, "server.properties")
	if err := os.WriteFile(conf, []byte(lines.String()), 0o600); err != nil {
		return fmt.Errorf("writing its configuration: %w", err)
	}
	log, err := os.OpenFile(b.logPath(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("opening its log: %w", err)
	}
	defer log.Close()
	if b.said, err = log.Seek(0, io.SeekEnd); err != nil {
		return fmt.Errorf("looking for the end of its log: %w", err)
	}
	cmd := exec.Command(b.dist.java, slices.Concat(b.dist.jvm(), b.jvm, jvm, []string{"kafka.Kafka", conf})...)
	cmd.Stdout, cmd.Stderr, cmd.Dir = log, log, b.home
	if b.proc, err = launch(cmd); err != nil {
		return err
	}
	return b.awaitReady()
}

// awaitReady waits until the broker has registered and answers.
func (b *Broker) awaitReady() error {
	if b.zk != nil {
		return b.awaitStarted()
	}
	cl, err := kgo.NewClient(append(b.ClientOptions(),
		kgo.RequestRetries(0), kgo.DialTimeout(time.Second), kgo.RetryTimeout(time.Second))...)
	if err != nil {
		return fmt.Errorf("making a client: %w", err)
	}
	defer cl.Close()
	err = poll(startTime, func() error {
		if b.proc.ended() {
			return nil
		}
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		m, err := kadm.NewClient(cl).BrokerMetadata(ctx)
		if err == nil && (len(m.Brokers) == 0 || m.Controller < 0) {
			err = errors.New("it has not registered yet")
		}
		return err
	})
	if err == nil && b.proc.ended() {
		err = errors.New("it ended")
	}
	if err != nil {
		return fmt.Errorf("waiting for it: %w; the end of its log:\n%s", err, b.logEnd())
	}
	return nil
}

// GaveUp returns what the broker has said since its last start of groups that it serves no
// more until the next one, empty if nothing. Kafka 4.1.0 does that, now and then, when it was
// killed and comes back on a busy machine: it is elected twice, and takes the end of reading
// its commits for the first for that of the second.
func (b *Broker) GaveUp() string {
	b.t.Helper()
	log, err := os.Open(b.logPath())
	if err != nil {
		b.t.Fatalf("looking into Kafka's log: %v", err)
	}
	defer log.Close()
	for lines := bufio.NewScanner(io.NewSectionReader(log, b.said, 1<<30)); lines.Scan(); {
		if l := lines.Text(); strings.Contains(l, "[GroupCoordinator") && strings.Contains(l, "is out of sync with the underlying log") {
			return l
		}
	}
	return ""
}

// Segment returns the file that has the first records of a partition. A broker that was
// stopped and starts again does not look whether its checksums are right.
func (b *Broker) Segment(topic string, partition int32) string {
	return filepath.Join(b.props["log.dirs"], fmt.Sprintf("%s-%d", topic, partition), "00000000000000000000.log")
}

func (b *Broker) logPath() string { return filepath.Join(b.home, "kafka.log") }

func (b *Broker) logEnd() []byte {
	text, err := os.ReadFile(b.logPath())
	if err != nil {
		return []byte(err.Error())
	}
	return lastLines(text, 40)
}

func (b *Broker) logFailure(t testing.TB) {
	if t.Failed() {
		t.Logf("the end of Kafka's log:\n%s", b.logEnd())
	}
}

// reservePorts returns the first of two free neighbouring ports that stay this
// process's until it ends. They lie below the range that the system gives to
// outgoing connections: while a broker is down, one of those could take its port,
// even a client's own attempt to connect to it.
func reservePorts() (int, error) {
	const first, last = 15000, 31998
	dir := filepath.Join(os.TempDir(), "tidemark-ports")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return 0, fmt.Errorf("reserving a port: %w", err)
	}
	for range 100 {
		port := first + 2*rand.IntN((last-first)/2)
		unlock, err := lockFile(filepath.Join(dir, strconv.Itoa(port)), false)
		if err != nil {
			continue
		}
		if free(port) && free(port+1) {
			return port, nil
		}
		unlock()
	}
	return 0, errors.New("reserving a port: none of 100 tries was free")
}

func free(port int) bool {
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return false
	}
	return l.Close() == nil
}
