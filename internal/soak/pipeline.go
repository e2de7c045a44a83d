package soak

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tidemarkhq/tidemark/internal/kafkatest"
)

// Copy is a pipeline that copies the source topic into the target.
type Copy struct {
	// Name is the child's client id; it must be unique among living children.
	Name string
	// Interval of checkpoints.
	Interval time.Duration
	// Session is the session time-out of the group; 0 = 30s. It is long, because a
	// machine that is busy with other things must not end it: killed members are
	// evicted.
	Session time.Duration
	// Protocol of the group; empty = classic.
	Protocol string
	// Metrics serves metrics on a port of its own.
	Metrics bool
	// StartFrom of the input; empty = earliest.
	StartFrom string
	// MaxBatch bounds the records of a batch; 0 = the default.
	MaxBatch int
	// Input and Checkpoint hold more fields of the input, and of its checkpoint, as
	// "name: value".
	Input, Checkpoint []string
	// Processors is YAML for the pipeline's processors, one list item; empty = none.
	Processors string
	// Output is YAML that takes the place of the output; empty = the target topic.
	Output string
	// Prefix of the transactional id of an output that delivers exactly once; empty = it
	// does not.
	Prefix string
	// Instance is the name that it has in the group for good; empty = none.
	Instance string
	// Shard of the partitions that it reads, whatever the group says; empty = the group
	// says what it reads.
	Shard Shard
	// Proxy that it goes through; nil = the rig's.
	Proxy *kafkatest.Proxy
	// OutputProxy is what its output goes through; nil = what its input does.
	OutputProxy *kafkatest.Proxy
	// Direct goes to the broker instead of through the proxy.
	Direct bool
	// Seed is an address of the broker to go to directly; empty = see above.
	Seed string
	// Security holds the fields of input and output that say who it is.
	Security string
	// Binary that runs it; empty = Tidemark's own.
	Binary string
}

// Shard is one of so many fixed shares of all partitions.
type Shard struct{ Index, Count int }

// String names it as transactional ids do.
func (s Shard) String() string { return fmt.Sprintf("%d-of-%d", s.Index, s.Count) }

// yaml writes the configuration.
func (c Copy) yaml(r *Rig, httpAddress string) string {
	var b strings.Builder
	if httpAddress == "" {
		b.WriteString("http: { enabled: false }\n")
	} else {
		fmt.Fprintf(&b, "http: { enabled: true, address: %q }\n", httpAddress)
	}
	seed := r.Proxy.Seeds()[0]
	if c.Proxy != nil {
		seed = c.Proxy.Seeds()[0]
	}
	if c.Direct {
		seed = r.Broker.Seeds()[0]
	}
	if c.Seed != "" {
		seed = c.Seed
	}
	session, start := c.Session, c.StartFrom
	if session == 0 {
		session = 30 * time.Second
	}
	if start == "" {
		start = "earliest"
	}
	fmt.Fprintf(&b, `shutdown_timeout: 30s
logger: { level: DEBUG, add_timestamp: true }
input:
  kafka_checkpointed:
    seed_brokers: [ %q ]
    client_id: %q
    topics: [ %q ]
    consumer_group: %q
    start_from: %s
    session_timeout: %s
    heartbeat_interval: 500ms
    checkpoint: { %s }
`, seed, c.Name, r.Source, r.Group, start, session,
		strings.Join(append([]string{"interval: " + c.Interval.String()}, c.Checkpoint...), ", "))
	if c.Protocol != "" {
		b.WriteString("    group_protocol: " + c.Protocol + "\n")
	}
	if c.Instance != "" {
		b.WriteString("    instance_id: " + c.Instance + "\n")
	}
	if c.Shard.Count > 0 {
		fmt.Fprintf(&b, "    assignment: static\n    shard: { index: %d, count: %d }\n", c.Shard.Index, c.Shard.Count)
	}
	if r.zooKeeper != nil {
		fmt.Fprintf(&b, "    assignment: static\n    zookeeper_connect: %q\n", r.zooKeeper.ZooKeeper())
	}
	for _, f := range append(slices.Clone(c.Input), c.Security) {
		b.WriteString("    " + f + "\n")
	}
	if c.MaxBatch > 0 {
		fmt.Fprintf(&b, "    max_batch_records: %d\n", c.MaxBatch)
	}
	if r.Windows != nil {
		b.WriteString(r.Windows.processors() + r.Windows.buffer())
	}
	if c.Processors != "" {
		fmt.Fprintf(&b, "pipeline:\n  threads: 1\n  processors:\n    - %s\n", c.Processors)
	}
	if c.Output != "" {
		return b.String() + "output:\n" + Indent(c.Output, "  ")
	}
	var fields []string
	if c.Prefix != "" {
		fields = []string{"delivery: exactly_once", "transaction_timeout: 1m", "transactional_id_prefix: " + c.Prefix}
	}
	fields = append(fields, c.Security)
	if c.OutputProxy != nil {
		seed = c.OutputProxy.Seeds()[0]
	}
	return b.String() + "output:\n" + Indent(kafkaOutput(seed, c.Name, r.Target, fields...), "  ")
}

// KafkaOutput is YAML of an output to a topic, with further fields.
func (r *Rig) KafkaOutput(client, topic string, fields ...string) string {
	return kafkaOutput(r.Proxy.Seeds()[0], client, topic, fields...)
}

func kafkaOutput(seed, client, topic string, fields ...string) string {
	out := fmt.Sprintf("kafka_checkpointed:\n  seed_brokers: [ %q ]\n  client_id: %q\n  topic: %s\n", seed, client, topic)
	for _, f := range fields {
		out += "  " + f + "\n"
	}
	return out
}

// Indent moves all lines to the right.
func Indent(text, by string) string {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	return by + strings.Join(lines, "\n"+by) + "\n"
}

// Item makes YAML an item of a list.
func Item(text string) string {
	return "- " + strings.TrimPrefix(Indent(text, "  "), "  ")
}
