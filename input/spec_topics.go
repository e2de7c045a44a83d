package input

import "github.com/redpanda-data/benthos/v4/public/service"

// The names of the fields that say what is read, and by whom.
const (
	fieldTopics        = "topics"
	fieldRegexpTopics  = "regexp_topics"
	fieldRegexpInclude = "regexp_topics_include"
	fieldRegexpExclude = "regexp_topics_exclude"
	fieldGroup         = "consumer_group"
	fieldAssignment    = "assignment"
	fieldShard         = "shard"
	fieldShardIndex    = "index"
	fieldShardCount    = "count"
	fieldGroupProtocol = "group_protocol"
	fieldInstanceID    = "instance_id"
	fieldDiscovery     = "discovery_interval"
)

// The values of fieldAssignment.
const (
	assignmentGroup  = "group"
	assignmentStatic = "static"
)

// The values of fieldGroupProtocol.
const (
	protocolClassic  = "classic"
	protocolConsumer = "consumer"
)

func topicFields() []*service.ConfigField {
	return []*service.ConfigField{
		service.NewStringListField(fieldTopics).
			Description("The topics to read. An item is `name`, a partition `name:0`, a range of them `name:0-3`, or a partition from an offset on `name:0:100`; several of these with commas between are several items. A topic or partition that does not exist is an error at the start, and is never created.").
			ShortDescription("The topics to read. Multiple comma-separated topics may share one item.").
			Example([]string{"orders", "returns"}).
			Example([]string{"orders,returns"}).
			Example([]string{"orders:0", "returns:0-3"}).
			Optional(),
		service.NewBoolField(fieldRegexpTopics).
			Description("Whether `topics` holds regular expressions. Use `regexp_topics_include` instead.").
			Default(false).Example(true).Deprecated(),
		service.NewStringListField(fieldRegexpInclude).
			Description("Regular expressions of topics to read, in place of `topics`. One that matches nothing is no error: topics that match are found as they come, see `discovery_interval`. An expression has to match the whole name of a topic, and never matches one of Kafka's internal topics.").
			ShortDescription("Regular expressions of topics to read.").
			Example([]string{"logs_.*", "metrics_.*"}).
			Example([]string{"events_[0-9]+"}).
			Optional(),
		service.NewStringListField(fieldRegexpExclude).
			Description("Regular expressions of topics not to read although an expression matches them. They, too, have to match the whole name.").
			Example([]string{"logs_debug.*"}).
			Optional(),
		service.NewDurationField(fieldDiscovery).
			Description("How often to look for topics and partitions that are new, also for a topic that took the place of a deleted one of its name. They are read from their first record, whatever `start_from` says. `0s` or less = only at the start; a bounded run never looks again.").
			Default("10s").Example("1m").Example("0s"),
	}
}

func assignmentFields() []*service.ConfigField {
	return []*service.ConfigField{
		service.NewStringField(fieldGroup).
			Description("The consumer group: positions are committed to it, and with `assignment: group` it shares out the partitions among all processes that name it.").
			Example("enrich").Optional(),
		service.NewStringAnnotatedEnumField(fieldAssignment, map[string]string{
			assignmentGroup:  "The consumer group shares out the partitions among any number of processes.",
			assignmentStatic: "This process reads all partitions, those of its `shard`, or those that `topics` names. Positions are still committed to `consumer_group`, if there is one, for others to see.",
		}).
			Description("Who decides which partitions this process reads. Default: `static` if `topics` names partitions, if `shard`, `zookeeper_connect` or `checkpoint.store.directory` is set or if there is no `consumer_group`; else `group`.").
			Example(assignmentStatic).Optional(),
		service.NewObjectField(fieldShard,
			service.NewIntField(fieldShardIndex).
				Description("Which of the shards this process reads, from 0.").Example(0).Optional(),
			service.NewIntField(fieldShardCount).
				Description("How many shards there are. Every partition belongs to one of them, by a hash of its topic and number.").Example(4).Optional(),
		).Description("A fixed share of all partitions, with `assignment: static`, for several processes without a group protocol between them.").
			Optional().Advanced(),
		service.NewStringAnnotatedEnumField(fieldGroupProtocol, map[string]string{
			protocolClassic:  "Members agree on an assignment among themselves, cooperatively.",
			protocolConsumer: "The broker assigns (KIP-848). A broker that does not offer it is an error.",
		}).
			Description("How members of the group come to their assignment.").
			Default(protocolClassic).Example(protocolConsumer).Advanced(),
		service.NewStringField(fieldInstanceID).
			Description("Makes this process a static member of the group: it keeps its partitions over a restart that takes less than `session_timeout`, and does not leave the group when it stops. Must be unique in the group. Empty = a dynamic member.").
			ShortDescription("Makes this process a static member of the group, unique within it.").
			Default("").Example("${HOSTNAME}").Advanced(),
		service.NewDurationField(fieldRebalanceTimeout).
			Description("How long members may take to finish what they have and commit when the group rebalances.").
			Default("45s").Example("2m").Advanced(),
		service.NewDurationField(fieldSessionTimeout).
			Description("How long a member may be silent before the group gives its partitions to others. The broker limits it (`group.min.session.timeout.ms`, `group.max.session.timeout.ms`).").
			Default("1m").Example("30s").Advanced(),
		service.NewDurationField(fieldHeartbeatInterval).
			Description("How often a member tells the group that it is alive. At most a third of `session_timeout`.").
			Default("3s").Example("1s").Advanced(),
	}
}
