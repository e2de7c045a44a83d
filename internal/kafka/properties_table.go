package kafka

const both = Consumer | Producer

// properties are those of Kafka 4.1's Java consumer and producer, and what they
// are here.
var properties = map[string]property{
	"bootstrap.servers":                  into(both, "seed_brokers", list),
	"client.id":                          into(both, "client_id", text),
	"metadata.max.age.ms":                into(both, "metadata_max_age", millis),
	"connections.max.idle.ms":            into(both, "conn_idle_timeout", millis),
	"request.timeout.ms":                 into(both, "request_timeout_overhead", millis),
	"socket.connection.setup.timeout.ms": into(both, "tcp.connect_timeout", millis),

	"security.protocol": {roles: both, field: tlsEnabled, apply: securityProtocol},
	"sasl.mechanism":    into(both, saslMechanism, text),
	"sasl.jaas.config":  secret(into(both, saslJAAS, text)),

	"ssl.endpoint.identification.algorithm": only(both, "use https, or the field tls.skip_cert_verify", "https"),

	"client.dns.lookup":        only(both, "use use_all_dns_ips or remove it", "use_all_dns_ips"),
	"enable.metrics.push":      only(both, "the client answers what the brokers ask for: use true or remove it", "true"),
	"receive.buffer.bytes":     only(both, "the operating system sizes its buffers: use -1 or remove it", "-1"),
	"send.buffer.bytes":        only(both, "the operating system sizes its buffers: use -1 or remove it", "-1"),
	"metric.reporters":         refused(both, "set the field client_metrics and the stream's `metrics`"),
	"interceptor.classes":      refused(both, "put a processor into the pipeline"),
	"reconnect.backoff.ms":     refused(both, "remove it, the client backs off from 250ms to 5s"),
	"reconnect.backoff.max.ms": refused(both, "remove it, the client backs off from 250ms to 5s"),
	"retry.backoff.ms":         refused(both, "remove it, the client backs off from 250ms to 5s"),
	"retry.backoff.max.ms":     refused(both, "remove it, the client backs off from 250ms to 5s"),
	"security.providers":       refused(both, "set the field tls"),

	"socket.connection.setup.timeout.max.ms": refused(both, "use socket.connection.setup.timeout.ms or the field tcp.connect_timeout"),
	"metadata.recovery.strategy":             refused(both, "remove it, the client goes back to its seed brokers by itself"),
	"metadata.recovery.rebootstrap.trigger.ms": refused(both,
		"remove it, the client goes back to its seed brokers by itself"),

	"group.id":                  into(Consumer, "consumer_group", text),
	"group.instance.id":         into(Consumer, "instance_id", text),
	"group.protocol":            into(Consumer, "group_protocol", oneOf(same("classic", "consumer"))),
	"group.remote.assignor":     refused(Consumer, "remove it, the broker's default is used"),
	"auto.offset.reset":         into(Consumer, "offset_reset", oneOf(same("earliest", "latest", "none"))),
	"enable.auto.commit":        into(Consumer, EnableAutoCommit, yes),
	"auto.commit.interval.ms":   into(Consumer, "commit_period", millis),
	"fetch.min.bytes":           into(Consumer, "fetch_min_bytes", size),
	"fetch.max.bytes":           into(Consumer, "fetch_max_bytes", size),
	"fetch.max.wait.ms":         into(Consumer, "fetch_max_wait", millis),
	"max.partition.fetch.bytes": into(Consumer, "fetch_max_partition_bytes", size),
	"max.poll.records":          into(Consumer, "max_batch_records", count),
	"max.poll.interval.ms":      into(Consumer, "rebalance_timeout", millis),
	"session.timeout.ms":        into(Consumer, "session_timeout", millis),
	"heartbeat.interval.ms":     into(Consumer, "heartbeat_interval", millis),
	"isolation.level":           into(Consumer, "transaction_isolation_level", oneOf(same("read_committed", "read_uncommitted"))),
	"client.rack":               into(Consumer, "rack_id", text),
	"allow.auto.create.topics":  only(Consumer, "an input never creates a topic: use false or remove it", "false"),
	"exclude.internal.topics":   only(Consumer, "patterns never match internal topics: use true or remove it", "true"),
	"check.crcs":                only(Consumer, "checksums are always verified: use true or remove it", "true"),
	"default.api.timeout.ms":    refused(Consumer, "use request.timeout.ms or the field request_timeout_overhead"),
	"internal.leave.group.on.close": only(Consumer, "a member leaves its group unless it has an instance_id: use true or remove it",
		"true"),
	"partition.assignment.strategy": only(Consumer, "partitions are assigned cooperatively: use org.apache.kafka.clients.consumer.CooperativeStickyAssignor or remove it",
		"org.apache.kafka.clients.consumer.CooperativeStickyAssignor"),
	"key.deserializer":   only(Consumer, "records are read as bytes: use ByteArrayDeserializer and decode in a processor", deserializers...),
	"value.deserializer": only(Consumer, "records are read as bytes: use ByteArrayDeserializer and decode in a processor", deserializers...),

	"acks":                                  into(Producer, "acks", oneOf(map[string]string{"all": "all", "-1": "all", "1": "leader", "0": "none"})),
	"enable.idempotence":                    into(Producer, "idempotent_write", yes),
	"compression.type":                      into(Producer, "compression", oneOf(same("none", "gzip", "snappy", "lz4", "zstd"))),
	"max.request.size":                      into(Producer, "max_message_bytes", size),
	"buffer.memory":                         into(Producer, "max_buffered_bytes", size),
	"delivery.timeout.ms":                   into(Producer, "record_delivery_timeout", millis),
	"retries":                               into(Producer, "record_retries", retries),
	"linger.ms":                             into(Producer, "linger", millis),
	"batch.size":                            refused(Producer, "batches grow up to the field max_message_bytes"),
	"max.block.ms":                          refused(Producer, "remove it, a full buffer holds the stream back until there is room"),
	"compression.gzip.level":                refused(Producer, "remove it, the default level is used"),
	"compression.lz4.level":                 refused(Producer, "remove it, the default level is used"),
	"compression.zstd.level":                refused(Producer, "remove it, the default level is used"),
	"metadata.max.idle.ms":                  refused(Producer, "remove it"),
	"partitioner.ignore.keys":               only(Producer, "records with a key go by its hash: use false, or the field partitioner", "false"),
	"transactional.id":                      refused(Producer, "transactions are not available yet: use delivery at_least_once"),
	"transaction.timeout.ms":                refused(Producer, "transactions are not available yet: use delivery at_least_once"),
	"key.serializer":                        only(Producer, "records are written as bytes: use ByteArraySerializer and encode in a processor", serializers...),
	"value.serializer":                      only(Producer, "records are written as bytes: use ByteArraySerializer and encode in a processor", serializers...),
	"transaction.two.phase.commit.enable":   only(Producer, "transactions are not available yet: use false or remove it", "false"),
	"max.in.flight.requests.per.connection": into(Producer, "max_in_flight_requests", count),
	"partitioner.class": into(Producer, "partitioner", oneOf(map[string]string{
		"org.apache.kafka.clients.producer.RoundRobinPartitioner":        "round_robin",
		"org.apache.kafka.clients.producer.internals.DefaultPartitioner": "murmur2_hash",
		"org.apache.kafka.clients.producer.internals.BuiltInPartitioner": "murmur2_hash",
	})),
}

// refusedPrefixes are families of properties without a setting here.
var refusedPrefixes = map[string]string{
	"ssl.":                      "set the field tls",
	"sasl.kerberos.":            "set the field sasl with the mechanism GSSAPI",
	"sasl.login.":               "set the field sasl",
	"sasl.oauthbearer.":         "set the field sasl",
	"sasl.client.":              "set the field sasl",
	"metrics.":                  "set the field client_metrics and the stream's `metrics`",
	"partitioner.adaptive.":     "set the field partitioner",
	"partitioner.availability.": "set the field partitioner",
	"share.":                    "share groups are not supported",
	"config.providers":          "use an environment variable, ${NAME}, in the field",
}

// The Java classes whose records are the bytes that are there.
var (
	deserializers = []string{
		"org.apache.kafka.common.serialization.ByteArrayDeserializer",
		"org.apache.kafka.common.serialization.ByteBufferDeserializer",
		"org.apache.kafka.common.serialization.BytesDeserializer",
		"org.apache.kafka.common.serialization.StringDeserializer",
	}
	serializers = []string{
		"org.apache.kafka.common.serialization.ByteArraySerializer",
		"org.apache.kafka.common.serialization.ByteBufferSerializer",
		"org.apache.kafka.common.serialization.BytesSerializer",
		"org.apache.kafka.common.serialization.StringSerializer",
	}
)

func secret(p property) property {
	p.secret = true
	return p
}
