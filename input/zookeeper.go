package input

import (
	"context"
	"errors"
	"fmt"

	"github.com/redpanda-data/benthos/v4/public/service"

	"github.com/tidemarkhq/tidemark/checkpoint"
	"github.com/tidemarkhq/tidemark/internal/kafka"
	"github.com/tidemarkhq/tidemark/internal/zookeeper"
)

// The names of the fields about offsets in ZooKeeper.
const (
	fieldZooKeeperConnect  = "zookeeper_connect"
	fieldZooKeeperAuth     = "zookeeper_auth"
	fieldZooKeeperUser     = "username"
	fieldZooKeeperPassword = "password"
	fieldZooKeeperInherit  = "inherit_sasl"
)

func zooKeeperFields() []*service.ConfigField {
	return []*service.ConfigField{
		service.NewStringField(fieldZooKeeperConnect).
			Description("The ZooKeeper that keeps the offsets of `consumer_group`, as `host:port,host:port/chroot`: they are the nodes `/consumers/<group>/offsets/<topic>/<partition>`, where consumers of Kafka 0.8 keep theirs, and not in Kafka. It works with brokers of any version; the assignment is static. Without a checkpoint store these offsets are the checkpoint, whoever has written them: see [Old brokers](../../old-brokers.md). TLS and Kerberos to ZooKeeper are not supported.").
			ShortDescription("The ZooKeeper that keeps the group's offsets, as consumers of Kafka 0.8 do.").
			Default("").Example("zk1:2181,zk2:2181/kafka").Advanced(),
		service.NewObjectField(fieldZooKeeperAuth,
			service.NewStringField(fieldZooKeeperUser).
				Description("The user of ZooKeeper's digest authentication. Empty = none.").Default("").Example("${ZK_USER}"),
			service.NewStringField(fieldZooKeeperPassword).
				Description("Its password.").Default("").Example("${ZK_PASSWORD}").Secret(),
			service.NewBoolField(fieldZooKeeperInherit).
				Description("Whether the user and password are those of `sasl`: of its first PLAIN or SCRAM.").Default(false).Example(true),
		).Description("Who the client is to ZooKeeper. Nodes that it makes can then be written by this user alone, and be read by everybody.").Advanced(),
	}
}

func (p *parser) zooKeeper(s *settings) {
	s.zooKeeper = zookeeper.Config{
		Connect: p.text(fieldZooKeeperConnect), Group: s.group,
		User:     value(optional(p, p.conf.FieldString, fieldZooKeeperAuth, fieldZooKeeperUser), ""),
		Password: value(optional(p, p.conf.FieldString, fieldZooKeeperAuth, fieldZooKeeperPassword), ""),
	}
	s.zooKeeperInherits = value(optional(p, p.conf.FieldBool, fieldZooKeeperAuth, fieldZooKeeperInherit), false)
}

// inherit gives ZooKeeper the user and password of the brokers, if that is asked for.
func (s *settings) inherit(creds []kafka.Credentials) error {
	if !s.zooKeeperInherits {
		return nil
	}
	if s.zooKeeper.User != "" || s.zooKeeper.Password != "" {
		return errors.New("zookeeper_auth.inherit_sasl is true, and zookeeper_auth.username or .password is set: use one of them")
	}
	for _, c := range creds {
		if user, password, ok := c.Login(); ok {
			s.zooKeeper.User, s.zooKeeper.Password = user, password
			return nil
		}
	}
	return fmt.Errorf("zookeeper_auth.inherit_sasl is true, but sasl has no user and password: add %s, %s or %s there, or set zookeeper_auth.username and .password",
		kafka.SASLPlain, kafka.SASLScram256, kafka.SASLScram512)
}

func (s *settings) zooKeeperFaults() (f faults) {
	z := s.zooKeeper
	if z.Connect == "" {
		f.when(z.User != "" || z.Password != "", "zookeeper_auth is set, but zookeeper_connect is not: set it, or remove zookeeper_auth")
		return f
	}
	if _, _, err := zookeeper.ParseConnect(z.Connect); err != nil {
		f.when(true, "zookeeper_connect: %w", err)
	}
	f.when(s.group == "", "zookeeper_connect is set, but consumer_group is not, whose offsets are kept there: set it, or remove zookeeper_connect")
	if s.group != "" && z.Validate() != nil {
		f.when(true, "consumer_group is %q, which cannot be the name of a node in ZooKeeper: use one without a slash", s.group)
	}
	f.when(s.assignment == assignmentGroup, "assignment is group, but zookeeper_connect is set, and offsets there belong to nobody: set assignment to static, or remove zookeeper_connect")
	f.when(s.topic != "", "zookeeper_connect and checkpoint.store.topic (%q) are both set, and no transaction covers offsets in ZooKeeper: remove one of them", s.topic)
	f.when((z.User == "") != (z.Password == ""), "zookeeper_auth needs both username and password")
	return f
}

const zooKeeperLints = `
  if $zookeeper == "" && (this.zookeeper_auth.username.or("") != "" || this.zookeeper_auth.password.or("") != "" || this.zookeeper_auth.inherit_sasl.or(false) == true) {
    "zookeeper_auth is set, but zookeeper_connect is not: set it, or remove zookeeper_auth"
  },
  if $zookeeper != "" && (this.zookeeper_auth.username.or("") == "") != (this.zookeeper_auth.password.or("") == "") {
    "zookeeper_auth needs both username and password"
  },
  if $zookeeper != "" && $group == "" {
    "zookeeper_connect is set, but consumer_group is not, whose offsets are kept there: set it, or remove zookeeper_connect"
  },
  if $zookeeper != "" && $group.contains("/") {
    "consumer_group is %v, which cannot be the name of a node in ZooKeeper: use one without a slash".format($group)
  },
  if $zookeeper != "" && this.assignment == "group" {
    "assignment is group, but zookeeper_connect is set, and offsets there belong to nobody: set assignment to static, or remove zookeeper_connect"
  },
  if $zookeeper != "" && $kept != "" {
    "zookeeper_connect and checkpoint.store.topic are both set, and no transaction covers offsets in ZooKeeper: remove one of them"
  },
`

// openZooKeeper makes the session in which offsets are kept, if they are in ZooKeeper. Connect
// alone calls it.
func (s *source) openZooKeeper(ctx context.Context) error {
	if s.conf.ZooKeeper.Connect == "" || s.zooKeeper != nil {
		return nil
	}
	if s.InTransaction() {
		return checkpoint.Fatal(errors.New("zookeeper_connect is set, but an output delivers exactly once, and no transaction covers offsets in ZooKeeper: " +
			"remove zookeeper_connect, or set delivery to at_least_once"))
	}
	ctx, cancel := context.WithTimeout(ctx, kafka.ProbeTimeout)
	defer cancel()
	conf := s.conf.ZooKeeper
	conf.Dial, conf.Debugf = s.conf.Connection.Dial, s.log.Debugf
	z, err := zookeeper.Open(ctx, conf)
	if err != nil {
		return s.zooKeeperError(err)
	}
	s.zooKeeper = z
	return nil
}

// zooKeeperError marks an error that no retry heals.
func (s *source) zooKeeperError(err error) error {
	if errors.Is(err, zookeeper.ErrAuth) {
		return checkpoint.Fatal(err)
	}
	return err
}

// fetchCommitted reads what the group has committed, wherever that is.
func (s *source) fetchCommitted(ctx context.Context, parts []kafka.Partition) (map[kafka.Partition]kafka.Committed, error) {
	if s.zooKeeper == nil {
		return kafka.FetchCommitted(ctx, s.admin, s.conf.Group, parts)
	}
	committed, err := s.zooKeeper.Fetch(ctx, parts)
	return committed, s.zooKeeperError(err)
}

// lookCommitted is fetchCommitted for what previous runs have left behind.
func (s *source) lookCommitted(ctx context.Context, parts []kafka.Partition) (map[kafka.Partition]kafka.Committed, error) {
	if s.transactional() {
		// Offsets that are on the way are waited for when partitions were assigned. Here they
		// may be those of a process that has died, which nobody else would end.
		return kafka.LookCommitted(ctx, s.admin, s.conf.Group, parts)
	}
	return s.fetchCommitted(ctx, parts)
}

// inZooKeeper is saved for offsets that are kept in ZooKeeper. Nothing tells there whose an
// offset is: every one counts as ours, unless we commit none.
func (s *source) inZooKeeper(p kafka.Partition, committed map[kafka.Partition]kafka.Committed) (checkpoint.Position, origin) {
	c, there := committed[p]
	switch {
	case !there:
		return checkpoint.Position{}, none
	case s.isAnew(p.Topic):
		return checkpoint.Position{}, gone
	}
	if !s.conf.CommitOffsets {
		return checkpoint.Position{}, theirs
	}
	return checkpoint.Position{Next: checkpoint.Offset(c.Offset), LeaderEpoch: kafka.UnknownEpoch, Stop: checkpoint.Unbounded}, ours
}
