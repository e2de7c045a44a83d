package kafka_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tidemarkhq/tidemark/internal/kafka"
)

func TestPropertiesOfAConsumer(t *testing.T) {
	o, err := kafka.TranslateProperties(map[string]string{
		"bootstrap.servers": "a:1,b:2", "client.id": "me", "metadata.max.age.ms": "1000", "connections.max.idle.ms": "2000",
		"request.timeout.ms": "3000", "socket.connection.setup.timeout.ms": "4000",
		"group.id": "g", "group.instance.id": "i", "group.protocol": "consumer", "auto.offset.reset": "LATEST", "enable.auto.commit": "False",
		"auto.commit.interval.ms": "5000", "fetch.min.bytes": "6", "fetch.max.bytes": "7", "fetch.max.wait.ms": "8",
		"max.partition.fetch.bytes": "9", "max.poll.records": "10", "max.poll.interval.ms": "11", "session.timeout.ms": "12",
		"heartbeat.interval.ms": "13", "isolation.level": "read_uncommitted", "client.rack": "r",
		"key.deserializer": "org.apache.kafka.common.serialization.StringDeserializer", "check.crcs": "true", "allow.auto.create.topics": "false",
	}, kafka.Consumer)
	require.NoError(t, err)
	ms := time.Millisecond
	assert.Equal(t, kafka.Overrides{
		"seed_brokers": []string{"a:1", "b:2"}, "client_id": "me", "metadata_max_age": time.Second, "conn_idle_timeout": 2 * time.Second,
		"request_timeout_overhead": 3 * time.Second, "tcp.connect_timeout": 4 * time.Second,
		"consumer_group": "g", "instance_id": "i", "group_protocol": "consumer", "offset_reset": "latest", kafka.EnableAutoCommit: false,
		"commit_period": 5 * time.Second, "fetch_min_bytes": int64(6), "fetch_max_bytes": int64(7), "fetch_max_wait": 8 * ms,
		"fetch_max_partition_bytes": int64(9), "max_batch_records": 10, "rebalance_timeout": 11 * ms, "session_timeout": 12 * ms,
		"heartbeat_interval": 13 * ms, "transaction_isolation_level": "read_uncommitted", "rack_id": "r",
	}, o)
}

func TestPropertiesOfAProducer(t *testing.T) {
	o, err := kafka.TranslateProperties(map[string]string{
		"acks": "-1", "enable.idempotence": "true", "compression.type": "zstd", "max.request.size": "1048576", "buffer.memory": "33554432",
		"delivery.timeout.ms": "120000", "retries": "2147483647", "linger.ms": "5", "max.in.flight.requests.per.connection": "1",
		"partitioner.class": "org.apache.kafka.clients.producer.RoundRobinPartitioner", "value.serializer": "org.apache.kafka.common.serialization.ByteArraySerializer",
	}, kafka.Producer)
	require.NoError(t, err)
	assert.Equal(t, kafka.Overrides{
		"acks": "all", "idempotent_write": true, "compression": "zstd", "max_message_bytes": int64(1 << 20), "max_buffered_bytes": int64(32 << 20),
		"record_delivery_timeout": 2 * time.Minute, "record_retries": 0, "linger": 5 * time.Millisecond, "max_in_flight_requests": 1, "partitioner": "round_robin",
	}, o)
}

func TestPropertiesRefused(t *testing.T) {
	for _, test := range []struct {
		role        kafka.Role
		name, value string
		want        string
	}{
		{kafka.Consumer, "no.such.thing", "1", "no.such.thing is not a property of Kafka's consumer that has a counterpart here: remove it"},
		{kafka.Consumer, "acks", "all", "acks is not a property of a consumer: remove it"},
		{kafka.Producer, "group.id", "g", "group.id is not a property of a producer: remove it"},
		{kafka.Consumer, "default.api.timeout.ms", "1", "default.api.timeout.ms: this client has no such setting: use request.timeout.ms"},
		{kafka.Consumer, "ssl.truststore.location", "/x", "ssl.truststore.location: this client has no such setting: set the field tls"},
		{kafka.Consumer, "sasl.login.callback.handler.class", "X", "set the field sasl"},
		{kafka.Consumer, "interceptor.classes", "X", "put a processor into the pipeline"},
		{kafka.Consumer, "auto.offset.reset", "by_duration:P1D", `auto.offset.reset: "by_duration:P1D": is not supported: use one of earliest, latest, none`},
		{kafka.Consumer, "session.timeout.ms", "30s", `session.timeout.ms: "30s": is not a number of milliseconds`},
		{kafka.Consumer, "fetch.max.bytes", "-1", `fetch.max.bytes: "-1": is not a number of bytes`},
		{kafka.Consumer, "max.poll.records", "many", `max.poll.records: "many"`},
		{kafka.Consumer, "enable.auto.commit", "on", `enable.auto.commit: "on": is neither true nor false`},
		{kafka.Consumer, "client.id", "", `client.id: "": is empty`},
		{kafka.Consumer, "check.crcs", "false", "checksums are always verified"},
		{kafka.Consumer, "allow.auto.create.topics", "true", "an input never creates a topic"},
		{kafka.Consumer, "partition.assignment.strategy", "org.apache.kafka.clients.consumer.RangeAssignor", "partitions are assigned cooperatively"},
		{kafka.Consumer, "value.deserializer", "io.confluent.kafka.serializers.KafkaAvroDeserializer", "decode in a processor"},
		{kafka.Consumer, "security.protocol", "TLS", `security.protocol: "TLS": is not supported`},
		{kafka.Consumer, "sasl.mechanism", "PLAIN", `sasl.mechanism: "PLAIN" needs sasl.jaas.config`},
		{kafka.Producer, "retries", "0", "no retries at all lose records"},
		{kafka.Producer, "transactional.id", "t", "transactions are not available yet"},
		{kafka.Producer, "batch.size", "1", "batches grow up to the field max_message_bytes"},
		{kafka.Producer, "partitioner.class", "com.example.Mine", `partitioner.class: "com.example.Mine": is not supported`},
	} {
		_, err := kafka.TranslateProperties(map[string]string{test.name: test.value}, test.role)
		assert.ErrorContains(t, err, test.want)
	}
	_, err := kafka.TranslateProperties(map[string]string{"a": "1", "linger.ms": "x", "acks": "7"}, kafka.Producer)
	for _, want := range []string{"properties: a is", "linger.ms", "acks"} {
		assert.ErrorContains(t, err, want, "all faults together")
	}
}

func TestPropertiesOfSecurity(t *testing.T) {
	const jaas = "org.apache.kafka.common.security.%s required\n  username=\"u\" password=\"p\\\"w\";"
	plain, scram := fmt.Sprintf(jaas, "plain.PlainLoginModule"), fmt.Sprintf(jaas, "scram.ScramLoginModule")
	for _, test := range []struct {
		props map[string]string
		want  kafka.Overrides
		err   string
	}{
		{map[string]string{"security.protocol": "plaintext"}, kafka.Overrides{"tls.enabled": false, "sasl": []kafka.Credentials{}}, ""},
		{map[string]string{"security.protocol": "SSL"}, kafka.Overrides{"tls.enabled": true, "sasl": []kafka.Credentials{}}, ""},
		{map[string]string{"security.protocol": "SASL_SSL"}, kafka.Overrides{"tls.enabled": true}, ""},
		{map[string]string{"security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": "PLAIN", "sasl.jaas.config": plain},
			kafka.Overrides{"tls.enabled": false, "sasl": []kafka.Credentials{{Mechanism: "PLAIN", Username: "u", Password: `p"w`}}}, ""},
		{map[string]string{"sasl.jaas.config": plain}, kafka.Overrides{"sasl": []kafka.Credentials{{Mechanism: "PLAIN", Username: "u", Password: `p"w`}}}, ""},
		{map[string]string{"sasl.mechanism": "SCRAM-SHA-256", "sasl.jaas.config": scram},
			kafka.Overrides{"sasl": []kafka.Credentials{{Mechanism: "SCRAM-SHA-256", Username: "u", Password: `p"w`}}}, ""},
		{map[string]string{"sasl.jaas.config": scram}, nil, "the login module org.apache.kafka.common.security.scram.ScramLoginModule does not go with the mechanism"},
		{map[string]string{"sasl.mechanism": "GSSAPI", "sasl.jaas.config": strings.Replace(plain, "plain.Plain", "auth.module.Krb5", 1)}, nil, `does not go with the mechanism "GSSAPI"`},
		{map[string]string{"sasl.mechanism": "PLAIN", "sasl.jaas.config": strings.Replace(plain, "username", "user", 1)}, nil, "has no username"},
	} {
		o, err := kafka.TranslateProperties(test.props, kafka.Consumer)
		if test.err == "" {
			require.NoError(t, err)
			assert.Equal(t, test.want, o)
			continue
		}
		require.ErrorContains(t, err, test.err)
		assert.NotContains(t, err.Error(), `p\"w`, "a password in a message")
	}
}

func TestCredentialsPrintWithoutSecrets(t *testing.T) {
	c := kafka.Credentials{Mechanism: "PLAIN", Username: "u", Password: "hidden", Token: "hidden", AWS: kafka.AWSKeys{Secret: "hidden"}}
	for _, format := range []string{"%v", "%+v", "%#v", "%s"} {
		assert.NotContains(t, fmt.Sprintf(format, c), "hidden")
		assert.NotContains(t, fmt.Sprintf(format, []kafka.Credentials{c}), "hidden")
	}
}

func TestCredentialsRefused(t *testing.T) {
	for _, test := range []struct {
		c    kafka.Credentials
		want string
	}{
		{kafka.Credentials{Mechanism: "NTLM"}, `"NTLM" is not supported`},
		{kafka.Credentials{Mechanism: "PLAIN"}, "PLAIN needs a `username`"},
		{kafka.Credentials{Mechanism: "SCRAM-SHA-512"}, "SCRAM-SHA-512 needs a `username`"},
		{kafka.Credentials{Mechanism: "OAUTHBEARER"}, "OAUTHBEARER needs a `token`"},
	} {
		_, err := test.c.SASL()
		assert.ErrorContains(t, err, test.want)
	}
	m, err := kafka.Credentials{Mechanism: "none"}.SASL()
	assert.NoError(t, err)
	assert.Nil(t, m)
}
