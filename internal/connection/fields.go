package connection

import (
	"github.com/redpanda-data/benthos/v4/public/service"

	"github.com/tidemarkhq/tidemark/internal/kafka"
)

// The names of the fields.
const (
	FieldSeedBrokers            = "seed_brokers"
	FieldClientID               = "client_id"
	FieldTLS                    = "tls"
	FieldSASL                   = "sasl"
	FieldMetadataMaxAge         = "metadata_max_age"
	FieldRequestTimeoutOverhead = "request_timeout_overhead"
	FieldConnIdleTimeout        = "conn_idle_timeout"
	FieldTCP                    = "tcp"
	FieldProperties             = "properties"
	FieldClientMetrics          = "client_metrics"
	FieldKafkaVersion           = "kafka_version"
)

// LintLets are what LintRules, and rules about versions, refer to. $kafka is the stated
// version of the brokers as one number, 801 for 0.8.1, 1002 for 0.10.2, 20800 for 2.8; without
// one it is above all of them.
const LintLets = `
let release = this.kafka_version.or("").string().trim_prefix("v").split(".").map_each(n -> n.number().catch(0))
let kafka = if this.kafka_version.or("").string() == "" { 1000000 } else if $release.index(0) > 0 { $release.index(0) * 10000 + $release.index(1).or(0).catch(0) * 100 } else { $release.index(1).or(0).catch(0) * 100 + $release.index(2).or(0).catch(0) }
`

// LintRules are Bloblang expressions for the array that a component's lint rule
// yields; each is a message or null.
const LintRules = `
  if this.kafka_version.or("").string() != "" && (!this.kafka_version.string().re_match("^v?[0-9]+([.][0-9]+){0,3}$") || $kafka < 800) {
    "kafka_version: %v is not a version of Kafka that can be used: use one from \"0.8.2\" on, with quotes around it, because YAML takes 0.10 for 0.1".format(this.kafka_version)
  },
  if $kafka < 1000 && this.sasl.or([]).any(m -> !["none", ""].contains(m.mechanism.or(""))) {
    "sasl is set, which needs brokers of version 0.10 or newer: correct kafka_version, which is %v, or remove sasl".format(this.kafka_version)
  },
  if this.seed_brokers.or([]).filter(b -> b.trim() != "").length() == 0 && !this.properties.or({}).keys().contains("bootstrap.servers") {
    "seed_brokers is empty: name at least one broker, such as localhost:9092"
  },
`

// Fields returns the fields that input and output share.
func Fields() []*service.ConfigField {
	return []*service.ConfigField{
		service.NewStringListField(FieldSeedBrokers).
			Description("The addresses of brokers to connect to first; one that answers is enough. An item with commas is several addresses; a missing port is 9092.").
			ShortDescription("Broker addresses used to establish connections. Items containing commas are expanded.").
			Example([]string{"localhost:9092"}).
			Example([]string{"foo:9092", "bar:9092"}).
			Example([]string{"foo:9092,bar:9092"}).
			Optional(),
		service.NewStringField(FieldClientID).
			Description("The name under which the brokers see this client, in their logs, quotas and metrics.").
			Default(kafka.DefaultClientID).Example("orders-pipeline").Advanced(),
		service.NewTLSToggledField(FieldTLS),
		SASLField(),
		service.NewStringField(FieldKafkaVersion).
			Description("The version of the brokers, in quotes, from `\"0.8.2\"` on. Unset: it is found out at the first connection, which takes two round trips. Brokers before 0.10 do not say what they can do, so clients have to know it. What the version cannot do is refused by the linter if it is set here, and else when the component connects. Of a rolling upgrade name the oldest version.").
			ShortDescription("The version of the brokers; found out if unset.").
			Default("").Example("0.8.2").Example("2.8").Advanced(),
		service.NewDurationField(FieldMetadataMaxAge).
			Description("How long the client trusts what it knows about topics, partitions and leaders before it asks again. At most `1h`.").
			Default(kafka.DefaultMetadataMaxAge.String()).Example("5m").Advanced(),
		service.NewDurationField(FieldRequestTimeoutOverhead).
			Description("The time that a broker gets to answer, on top of what a request grants it itself. Roughly Kafka's `request.timeout.ms`. From `100ms` to `15m`.").
			Default(kafka.DefaultRequestTimeoutOverhead.String()).Example("30s").Advanced(),
		service.NewDurationField(FieldConnIdleTimeout).
			Description("How long a connection may be unused before it is closed, roughly. From `100ms` to `15m`.").
			Default(kafka.DefaultConnIdleTimeout.String()).Example("1m").Advanced(),
		tcpField(),
		service.NewStringMapField(FieldProperties).
			Description("Settings under the names that Kafka's Java client gives them, so that an existing properties file can be taken over as it is. A value here wins over the field of this component that means the same. A property that this client has no setting for is refused by name, with what to use instead.").
			ShortDescription("Settings by the names of Kafka's Java client; they win over the other fields.").
			Default(map[string]any{}).
			Example(map[string]any{"bootstrap.servers": "localhost:9092", "client.id": "orders"}).
			Secret().Advanced(),
		service.NewBoolField(FieldClientMetrics).
			Description("Whether to export the metrics of the Kafka client itself (`tidemark_client_*`): connections, bytes, request latencies, throttling, buffered records.").
			Default(true).Example(false).Advanced(),
	}
}

func tcpField() *service.ConfigField {
	return service.NewObjectField(FieldTCP,
		service.NewDurationField("connect_timeout").
			Description("How long connecting may take, TLS handshake included. `0s` = 10s.").
			Default("0s").Example("3s"),
		service.NewObjectField("keep_alive",
			service.NewDurationField("idle").
				Description("How long a connection must be quiet before the first keep-alive probe. `0s` = 15s; negative = no probes.").
				Default("15s").Example("1m"),
			service.NewDurationField("interval").
				Description("The time between two probes. `0s` = 15s.").
				Default("15s").Example("5s"),
			service.NewIntField("count").
				Description("How many probes may stay unanswered before the connection is dropped. 0 = 9.").
				Default(9).Example(3),
		).Description("TCP keep-alive probes.").Optional(),
		service.NewDurationField("tcp_user_timeout").
			Description("How long sent data may stay unacknowledged before the connection is killed; Linux only. `keep_alive.idle` must be greater. `0s` = the system's limit.").
			Default("0s").Example("10s"),
	).
		Description("Settings of the TCP sockets.").
		Optional().Advanced()
}
