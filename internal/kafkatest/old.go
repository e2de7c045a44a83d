package kafkatest

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"
)

// Old lines of Apache Kafka, each in its last release. Every one keeps its metadata in
// ZooKeeper.
const (
	// Kafka08 has no groups; offsets are kept in ZooKeeper.
	Kafka08 = "0.8.2.2"
	// Kafka09 has groups, and records without timestamps.
	Kafka09 = "0.9.0.1"
	// Kafka010 finds no offsets by timestamp, Kafka0102 does.
	Kafka010  = "0.10.0.1"
	Kafka0102 = "0.10.2.2"
	// Kafka011 has headers and transactions.
	Kafka011 = "0.11.0.3"
	Kafka11  = "1.1.1"
	Kafka28  = "2.8.2"
)

// Old starts a broker of a version from 0.8.2 to 3.9 and the ZooKeeper that it keeps its
// metadata in, both of this test's own. It is like Real otherwise. Stop, Kill9, Pause and
// Start are about the broker alone: ZooKeeper lives on.
func Old(t testing.TB, version string, props ...string) *Broker {
	t.Helper()
	dist, err := install(version)
	var b *Broker
	if err == nil {
		b, err = dist.oldBroker(t.TempDir(), props)
	}
	return b.run(t, err)
}

// oldBroker prepares a broker that keeps its metadata in ZooKeeper.
func (d *distribution) oldBroker(home string, props []string) (*Broker, error) {
	port, err := reservePorts()
	if err != nil {
		return nil, err
	}
	b := &Broker{dist: d, home: home, port: port, proc: noProcess()}
	b.zk = &zookeeper{dist: d, home: filepath.Join(home, "zookeeper"), port: port + 1, proc: noProcess()}
	if err := os.MkdirAll(filepath.Join(b.zk.home, "data"), 0o755); err != nil {
		return nil, fmt.Errorf("making a folder for ZooKeeper: %w", err)
	}
	return b, b.configure(b.oldDefaults(), props)
}

// oldDefaults are the properties of a broker beside ZooKeeper.
func (b *Broker) oldDefaults() map[string]string {
	props := map[string]string{
		"broker.id":                        "0",
		"zookeeper.connect":                b.zk.address(),
		"zookeeper.connection.timeout.ms":  "60000",
		"zookeeper.session.timeout.ms":     "3000",
		"log.dirs":                         filepath.Join(b.home, "data"),
		"num.partitions":                   "4",
		"default.replication.factor":       "1",
		"auto.create.topics.enable":        "false",
		"delete.topic.enable":              "true",
		"offsets.topic.replication.factor": "1",
		"offsets.topic.num.partitions":     "4",
		"log.cleaner.dedupe.buffer.size":   "4194304",
		"num.io.threads":                   "4",
		"background.threads":               "2",
	}
	if b.dist.version.atLeast(0, 9) {
		listener := fmt.Sprintf("PLAINTEXT://127.0.0.1:%d", b.port)
		maps.Copy(props, map[string]string{
			"listeners": listener, "advertised.listeners": listener, "group.min.session.timeout.ms": "1000",
		})
	} else {
		port := strconv.Itoa(b.port)
		maps.Copy(props, map[string]string{
			"host.name": "127.0.0.1", "port": port, "advertised.host.name": "127.0.0.1", "advertised.port": port,
		})
	}
	if b.dist.version.atLeast(0, 11) {
		maps.Copy(props, map[string]string{
			"group.initial.rebalance.delay.ms":         "0",
			"transaction.state.log.replication.factor": "1",
			"transaction.state.log.min.isr":            "1",
			"transaction.state.log.num.partitions":     "4",
		})
	}
	return props
}

// ZooKeeper returns host:port of the ZooKeeper that the broker of Old keeps its metadata in.
func (b *Broker) ZooKeeper() string { return b.zk.address() }

// PauseZooKeeper freezes ZooKeeper: connections stay, nothing is answered. A broker whose
// session ends meanwhile registers anew.
func (b *Broker) PauseZooKeeper() { b.t.Helper(); b.zk.signal(b.t, pauses) }

// ContinueZooKeeper ends PauseZooKeeper.
func (b *Broker) ContinueZooKeeper() { b.t.Helper(); b.zk.signal(b.t, continues) }

// StopZooKeeper ends ZooKeeper; the broker goes on without it for a while.
func (b *Broker) StopZooKeeper() { b.zk.proc.kill() }

// StartZooKeeper starts ZooKeeper again, on the same data and port.
func (b *Broker) StartZooKeeper() {
	b.t.Helper()
	if err := b.zk.launch(); err != nil {
		b.t.Fatalf("starting ZooKeeper: %v", err)
	}
}

// awaitStarted waits until the broker says that it has started: clients cannot tell, because
// those of old brokers have to know what they talk to.
func (b *Broker) awaitStarted() error {
	err := poll(startTime, func() error {
		switch {
		case b.proc.ended():
			return nil
		case !b.saysStarted():
			return errors.New("it has not started yet")
		}
		conn, err := net.Dial("tcp", b.Seeds()[0])
		if err == nil {
			err = conn.Close()
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

// saysStarted looks for what the versions say when they have: "[Kafka Server 0], started",
// "[KafkaServer id=0] started".
func (b *Broker) saysStarted() bool {
	log, err := os.Open(b.logPath())
	if err != nil {
		return false
	}
	defer log.Close()
	lines := bufio.NewScanner(io.NewSectionReader(log, b.said, 1<<30))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		l := lines.Bytes()
		if bytes.Contains(l, []byte("started (kafka.server.KafkaServer)")) && bytes.Contains(l, []byte("[Kafka")) {
			return true
		}
	}
	return false
}

// release is a version of Kafka as numbers.
type release []int

func parseRelease(text string) (release, error) {
	var r release
	for _, part := range strings.Split(text, ".") {
		n, err := strconv.Atoi(part)
		if err != nil {
			return nil, fmt.Errorf("reading Kafka version %q: %w", text, err)
		}
		r = append(r, n)
	}
	return r, nil
}

// atLeast tells whether it is of a version or a later one.
func (r release) atLeast(version ...int) bool {
	for i, n := range version {
		switch {
		case i >= len(r) || r[i] < n:
			return false
		case r[i] > n:
			return true
		}
	}
	return true
}

// formatsSince is the first version whose brokers are their own controllers here.
var formatsSince = []int{3, 7}

// jars says what a release needs on a JDK of today, in the words of the POM.
func (r release) jars(version string) map[string]any {
	scala := "2.11"
	if r.atLeast(2, 4) {
		scala = "2.13"
	}
	return map[string]any{
		"Version": version, "Scala": scala,
		"Log4j2": r.atLeast(4),
		// Before 1.0 Kafka's own POM brings a logger.
		"Log4j1": r.atLeast(1) && !r.atLeast(4),
		// They make the cluster's id with a class that JDKs have no more.
		"JAXB": r.atLeast(0, 10, 1) && !r.atLeast(1),
		// The client of ZooKeeper 3.4.13 and 3.4.14 cannot connect on a JDK from 14 on.
		"ZooKeeper": r.atLeast(2) && !r.atLeast(2, 4),
	}
}

// pin returns what clients must be told of brokers that do not say what they can do.
func (r release) pin() []kgo.Opt {
	switch {
	case r.atLeast(0, 10):
		return nil
	case r.atLeast(0, 9):
		return []kgo.Opt{kgo.MaxVersions(kversion.V0_9_0())}
	}
	v := kversion.V0_8_2()
	// The table has them, and the brokers do not.
	v.SetMaxKeyVersion(kmsg.JoinGroup.Int16(), -1)
	v.SetMaxKeyVersion(kmsg.Heartbeat.Int16(), -1)
	return []kgo.Opt{kgo.MaxVersions(v)}
}
