package behaviour

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/require"

	"github.com/tidemarkhq/tidemark/input"
	"github.com/tidemarkhq/tidemark/output"
	"github.com/tidemarkhq/tidemark/processor"
)

// sharedFields names, for each field that the input and the output have, the test that
// shows a changed value take effect; `package.Test` is one of another package.
var sharedFields = map[string]string{
	"format":                                        "TestSD02_KeyAndValueAreDecodedEachOnItsOwn",
	"key_format":                                    "TestSD07_KeyFields",
	"key_fields":                                    "TestSD07_KeyFields",
	"key_prefix":                                    "TestSD07_KeyPrefix",
	"value_includes_key":                            "TestSD07_KeyFields",
	"format_options":                                "TestSD05_NothingIsSentForWhatIsEncodedToNothing",
	"key_format_options":                            "formats.TestFormatFaults",
	"csv.columns.name":                              "TestSD07_KeyFields",
	"csv.columns.type":                              "TestSD07_KeyFields",
	"csv.delimiter":                                 "TestFieldsOfCSV",
	"csv.quote":                                     "TestFieldsOfCSV",
	"csv.null_literal":                              "TestFieldsOfCSV",
	"csv.allow_missing":                             "TestFieldsOfCSV",
	"csv.allow_extra":                               "TestFieldsOfCSV",
	"schema_registry.url":                           "formats.TestRegistryFields",
	"schema_registry.context":                       "formats.TestRegistryFields",
	"schema_registry.basic_auth.username":           "formats.TestRegistryFields",
	"schema_registry.basic_auth.password":           "formats.TestRegistryFields",
	"schema_registry.bearer_token":                  "formats.TestRegistryFields",
	"schema_registry.inherit_sasl":                  "TestFieldInheritSASL",
	"schema_registry.timeout":                       "formats.TestRegistryFields",
	"schema_registry.retries":                       "formats.TestRegistryFields",
	"schema_registry.refresh_period":                "formats.TestRegistryFields",
	"schema_registry.tls.enabled":                   "formats.TestRegistryFields",
	"schema_registry.tls.skip_cert_verify":          "formats.TestRegistryFields",
	"schema_registry.tls.enable_renegotiation":      "formats.TestRegistryFields",
	"schema_registry.tls.root_cas":                  "formats.TestRegistryFields",
	"schema_registry.tls.root_cas_file":             "formats.TestRegistryFields",
	"schema_registry.tls.client_certs.cert":         "formats.TestRegistryFields",
	"schema_registry.tls.client_certs.key":          "formats.TestRegistryFields",
	"schema_registry.tls.client_certs.cert_file":    "formats.TestRegistryFields",
	"schema_registry.tls.client_certs.key_file":     "formats.TestRegistryFields",
	"schema_registry.tls.client_certs.password":     "formats.TestRegistryFields",
	"schema_registry.subject":                       "formats.TestRegistryFields",
	"schema_registry.subject_name":                  "formats.TestRegistryFields",
	"schema_registry.schema":                        "formats.TestRegistryFields",
	"schema_registry.schema_id":                     "formats.TestRegistryFields",
	"schema_registry.schema_version":                "formats.TestRegistryFields",
	"schema_registry.register":                      "formats.TestRegistryFields",
	"schema_registry.references.name":               "formats.TestRegistryFields",
	"schema_registry.references.subject":            "formats.TestRegistryFields",
	"schema_registry.references.version":            "formats.TestRegistryFields",
	"schema_registry.reader_schema":                 "formats.TestRegistryFields",
	"schema_registry.reader_schema_version":         "formats.TestRegistryFields",
	"schema_registry.avro_tagged_unions":            "formats.TestRegistryFields",
	"schema_registry.protobuf_message":              "formats.TestRegistryFields",
	"schema_registry.protobuf_proto_names":          "formats.TestRegistryFields",
	"schema_registry.protobuf_emit_unpopulated":     "formats.TestRegistryFields",
	"schema_registry.key.subject":                   "formats.TestRegistryFields",
	"schema_registry.key.subject_name":              "formats.TestRegistryFields",
	"schema_registry.key.schema":                    "formats.TestRegistryFields",
	"schema_registry.key.schema_id":                 "formats.TestRegistryFields",
	"schema_registry.key.schema_version":            "formats.TestRegistryFields",
	"schema_registry.key.register":                  "formats.TestRegistryFields",
	"schema_registry.key.references.name":           "formats.TestRegistryFields",
	"schema_registry.key.references.subject":        "formats.TestRegistryFields",
	"schema_registry.key.references.version":        "formats.TestRegistryFields",
	"schema_registry.key.reader_schema":             "formats.TestRegistryFields",
	"schema_registry.key.reader_schema_version":     "formats.TestRegistryFields",
	"schema_registry.key.avro_tagged_unions":        "formats.TestRegistryFields",
	"schema_registry.key.protobuf_message":          "formats.TestRegistryFields",
	"schema_registry.key.protobuf_proto_names":      "formats.TestRegistryFields",
	"schema_registry.key.protobuf_emit_unpopulated": "formats.TestRegistryFields",
	"sasl.kerberos.keytab":                          "TestFieldsOfKerberos",
	"sasl.kerberos.principal":                       "TestFieldsOfKerberos",
	"sasl.kerberos.use_ticket_cache":                "TestFieldsOfKerberos",
	"sasl.kerberos.ticket_cache":                    "TestFieldsOfKerberos",
	"sasl.kerberos.service_name":                    "TestFieldsOfKerberos",
	"sasl.kerberos.krb5_conf":                       "TestFieldsOfKerberos",
	"sasl.oauth2.token_url":                         "TestFieldsOfOAuth2",
	"sasl.oauth2.client_id":                         "TestFieldsOfOAuth2",
	"sasl.oauth2.client_secret":                     "TestFieldsOfOAuth2",
	"sasl.oauth2.scopes":                            "TestFieldsOfOAuth2",
	"sasl.oauth2.endpoint_params":                   "TestFieldsOfOAuth2",
	"sasl.oauth2.tls.skip_cert_verify":              "TestFieldsOfOAuth2",
	"sasl.oauth2.tls.enable_renegotiation":          "TestFieldsOfOAuth2",
	"sasl.oauth2.tls.root_cas":                      "TestFieldsOfOAuth2",
	"sasl.oauth2.tls.root_cas_file":                 "TestFieldsOfOAuth2",
	"sasl.oauth2.tls.client_certs.cert":             "TestFieldsOfOAuth2",
	"sasl.oauth2.tls.client_certs.key":              "TestFieldsOfOAuth2",
	"sasl.oauth2.tls.client_certs.cert_file":        "TestFieldsOfOAuth2",
	"sasl.oauth2.tls.client_certs.key_file":         "TestFieldsOfOAuth2",
	"sasl.oauth2.tls.client_certs.password":         "TestFieldsOfOAuth2",
	"seed_brokers":                                  "TestFieldSeedBrokers",
	"kafka_version":                                 "TestFieldKafkaVersion",
	"client_id":                                     "TestER04_EveryConnectionBearsTheClientID",
	"tls.enabled":                                   "TestFieldTLS",
	"tls.skip_cert_verify":                          "TestFieldTLS",
	"tls.enable_renegotiation":                      "TestFieldTLSRenegotiation",
	"tls.root_cas":                                  "TestFieldTLS",
	"tls.root_cas_file":                             "TestFieldTLS",
	"tls.client_certs.cert":                         "TestFieldTLS",
	"tls.client_certs.key":                          "TestFieldTLS",
	"tls.client_certs.cert_file":                    "TestFieldTLS",
	"tls.client_certs.key_file":                     "TestFieldTLS",
	"tls.client_certs.password":                     "TestFieldTLS",
	"sasl.mechanism":                                "TestFieldSASL",
	"sasl.username":                                 "TestFieldSASL",
	"sasl.password":                                 "TestFieldSASL",
	"sasl.token":                                    "TestFieldSASLToken",
	"sasl.extensions":                               "TestFieldSASLToken",
	"sasl.aws.region":                               "TestFieldSASLAWS",
	"sasl.aws.endpoint":                             "TestFieldSASLAWS",
	"sasl.aws.tcp.connect_timeout":                  "TestFieldSASLAWS",
	"sasl.aws.tcp.keep_alive.idle":                  "TestFieldSASLAWS",
	"sasl.aws.tcp.keep_alive.interval":              "TestFieldSASLAWS",
	"sasl.aws.tcp.keep_alive.count":                 "TestFieldSASLAWS",
	"sasl.aws.tcp.tcp_user_timeout":                 "TestFieldSASLAWS",
	"sasl.aws.credentials.profile":                  "TestFieldsOfAWSRefused",
	"sasl.aws.credentials.id":                       "TestFieldSASLAWS",
	"sasl.aws.credentials.secret":                   "TestFieldSASLAWS",
	"sasl.aws.credentials.token":                    "TestFieldSASLAWS",
	"sasl.aws.credentials.from_ec2_role":            "TestFieldsOfAWSRefused",
	"sasl.aws.credentials.role":                     "TestFieldsOfAWSRefused",
	"sasl.aws.credentials.role_external_id":         "TestFieldsOfAWSRefused",
	"metadata_max_age":                              "TestFieldMetadataMaxAge",
	"request_timeout_overhead":                      "TestFieldRequestTimeoutOverhead",
	"conn_idle_timeout":                             "TestFieldConnIdleTimeout",
	"tcp.connect_timeout":                           "TestFieldTCPConnectTimeout",
	"tcp.keep_alive.idle":                           "TestFieldsOfTheSocket",
	"tcp.keep_alive.interval":                       "TestFieldsOfTheSocket",
	"tcp.keep_alive.count":                          "TestFieldsOfTheSocket",
	"tcp.tcp_user_timeout":                          "TestFieldsOfTheSocket",
	"properties":                                    "TestFieldProperties",
	"client_metrics":                                "TestMT06_ClientMetricsHaveASwitch",
}

var inputFields = map[string]string{
	"topics":                                   "TestDI05_AllPartitionsOfExactlyTheListedTopics",
	"regexp_topics":                            "TestDI06_PatternsMatchWholeNames",
	"regexp_topics_include":                    "TestFieldsOfPatterns",
	"regexp_topics_exclude":                    "TestFieldsOfPatterns",
	"discovery_interval":                       "TestDI02_WithDiscoveryOffNewPartitionsAreNotRead",
	"consumer_group":                           "TestFieldsOfAGroupMember",
	"zookeeper_connect":                        "TestFieldZooKeeper",
	"zookeeper_auth.username":                  "TestFieldZooKeeper",
	"zookeeper_auth.inherit_sasl":              "input.TestFieldZooKeeperInherits",
	"zookeeper_auth.password":                  "TestFieldZooKeeper",
	"assignment":                               "TestFieldAssignment",
	"shard.index":                              "TestFieldShard",
	"shard.count":                              "TestFieldShard",
	"group_protocol":                           "TestFieldGroupProtocol",
	"instance_id":                              "TestFieldsOfAGroupMember",
	"rebalance_timeout":                        "TestFieldsOfAGroupMember",
	"session_timeout":                          "TestFieldsOfAGroupMember",
	"heartbeat_interval":                       "TestFieldsOfAGroupMember",
	"start_from":                               "TestSP02_LatestEmitsOnlyWhatComesAfterTheStart",
	"start_timestamp":                          "TestSP06_TimestampStartsAtTheFirstRecordNotBefore",
	"start_offsets":                            "TestBD03_PartitionsWithNothingToReadAreFinishedAtOnce",
	"offset_reset":                             "TestSP05_ResetPolicyWhereTheGroupHasNoOffset",
	"stop_at":                                  "TestBD01_LatestStopsAtTheEndsOfTheStart",
	"stop_timestamp":                           "TestBD07_TimestampStopsBeforeTheFirstRecordNotBefore",
	"stop_offsets":                             "TestBD06_TheStopOffsetIsNotRead",
	"transaction_isolation_level":              "TestFieldTransactionIsolationLevel",
	"rack_id":                                  "TestER05_FetchesCarryTheRackOfTheEnvironment",
	"fetch_max_bytes":                          "TestFieldsOfTheFetchRequest",
	"fetch_max_wait":                           "TestFieldsOfTheFetchRequest",
	"fetch_min_bytes":                          "TestFieldsOfTheFetchRequest",
	"fetch_max_partition_bytes":                "TestFieldsOfTheFetchRequest",
	"topic_lag_refresh_period":                 "TestFieldTopicLagRefreshPeriod",
	"ordering":                                 "TestFieldOrdering",
	"max_batch_records":                        "TestFieldMaxBatchRecords",
	"include_metadata":                         "TestSD02_KeyAndValueAreDecodedEachOnItsOwn",
	"on_bad_record":                            "TestBadRecordSkip",
	"dead_letter_topic":                        "TestBadRecordDeadLetter",
	"metadata":                                 "TestMD01_OnlyTheMetadataThatIsListed",
	"multi_header":                             "TestFieldMultiHeader",
	"commit_period":                            "TestFieldCommitPeriod",
	"checkpoint.interval":                      "TestCM07_CommitsFollowCheckpointsAndNothingElse",
	"checkpoint.timeout":                       "TestFieldCheckpointTimeout",
	"checkpoint.min_pause":                     "TestFieldCheckpointMinPause",
	"checkpoint.tolerable_failures":            "TestFieldCheckpointTolerableFailures",
	"checkpoint.store.directory":               "TestCM06_WithoutAGroupNoneIsMade",
	"checkpoint.store.topic":                   "TestStoreTopicKeepsPositionsOfStaticPartitions",
	"checkpoint.store.partitions":              "TestStoreTopicForAtLeastOnce",
	"checkpoint.store.local_copy":              "TestStoreTopicForAtLeastOnce",
	"checkpoint.job":                           "TestFieldCheckpointJob",
	"checkpoint.shutdown_timeout":              "TestFieldCheckpointShutdownTimeout",
	"checkpoint.commit_offsets":                "TestCM05_WithoutCommitsTheRestartIsExactAllTheSame",
	"checkpoint.caches":                        "cmd.TestStreamsModeRestoresTheCacheOfEachStream",
	"checkpoint.retain":                        "TestFieldsOfRetainedCheckpoints",
	"checkpoint.savepoint_directory":           "TestFieldSavepointDirectory",
	"checkpoint.restore_from":                  "TestFieldsOfRetainedCheckpoints",
	"checkpoint.restart.initial_backoff":       "TestFieldsOfRestart",
	"checkpoint.restart.max_backoff":           "TestFieldsOfRestart",
	"checkpoint.restart.multiplier":            "TestFieldsOfRestart",
	"checkpoint.restart.jitter":                "TestFieldsOfRestart",
	"checkpoint.restart.reset_after":           "TestFieldsOfRestart",
	"checkpoint.restart.max_restarts":          "TestFieldsThatLimitRestarts",
	"checkpoint.restart.window":                "TestFieldsThatLimitRestarts",
	"start_offset":                             "TestFieldsOfConnectThatSayWhereToStart",
	"start_from_oldest":                        "TestFieldsOfConnectThatSayWhereToStart",
	"checkpoint_limit":                         "TestFieldsWithoutEffect",
	"batching.count":                           "TestFieldMaxBatchRecords",
	"batching.byte_size":                       "TestFieldsWithoutEffect",
	"batching.period":                          "TestFieldsWithoutEffect",
	"batching.check":                           "input.TestConfigFaults",
	"batching.processors":                      "TestFieldsOfInputBatchingRefused",
	"partition_buffer_bytes":                   "TestFieldsWithoutEffect",
	"max_yield_batch_bytes":                    "TestFieldsWithoutEffect",
	"unordered_processing.enabled":             "TestFieldOrdering",
	"unordered_processing.checkpoint_limit":    "TestFieldsWithoutEffect",
	"unordered_processing.batching.count":      "TestFieldMaxBatchRecords",
	"unordered_processing.batching.byte_size":  "TestFieldsWithoutEffect",
	"unordered_processing.batching.period":     "TestFieldsWithoutEffect",
	"unordered_processing.batching.check":      "TestFieldsOfInputBatchingRefused",
	"unordered_processing.batching.processors": "input.TestConfigFaults",
	"auto_replay_nacks":                        "TestFieldAutoReplayNacks",
	"timely_nacks_maximum_wait":                "TestFieldTimelyNacksMaximumWait",
	"extract_tracing_map":                      "TestFieldsOfTracing",
}

var outputFields = map[string]string{
	"topic":                   "TestMD02_RecordsNameTheirTopicAndCanBeRoutedByIt",
	"transactional_id_prefix": "TestFieldsTransactionalIDPrefixAndTimeout", "transaction_timeout": "TestFieldsTransactionalIDPrefixAndTimeout",
	"topics_allowed":            "output.TestRH07_TopicPerRecord",
	"key":                       "output.TestRecordOfASourceRecord",
	"partition":                 "output.TestRH05_EachRecordInItsPartition",
	"metadata.include_prefixes": "TestFieldMetadataIncludePrefixes",
	"metadata.include_patterns": "output.TestRecordOfASourceRecord",
	"timestamp":                 "output.TestRecordOfASourceRecord",
	"timestamp_ms":              "output.TestRecordOfASourceRecord",
	"delivery":                  "TestFieldsDeliveryAndFlush",
	"flush":                     "TestFieldsDeliveryAndFlush",
	"log_failures_only":         "output.TestLogFailuresOnly",
	"max_in_flight":             "TestFieldMaxInFlight",
	"batching.count":            "TestFieldsOfOutputBatching",
	"batching.byte_size":        "TestFieldsOfOutputBatching",
	"batching.period":           "TestFieldsOfOutputBatching",
	"batching.check":            "TestFieldsOfOutputBatching",
	"batching.processors":       "TestFieldsOfOutputBatching",
	"partitioner":               "output.TestPartitioners",
	"writer_index":              "output.TestRH06_FixedWriters",
	"idempotent_write":          "output.TestFieldsOfTheProduceRequest",
	"acks":                      "output.TestFieldsOfTheProduceRequest",
	"compression":               "output.TestFieldsOfTheProduceRequest",
	"allow_auto_topic_creation": "output.TestTopicCreation",
	"timeout":                   "output.TestFieldsOfTheProduceRequest",
	"max_message_bytes":         "output.TestFieldMaxMessageBytes",
	"broker_write_max_bytes":    "output.TestFieldBrokerWriteMaxBytes",
	"max_buffered_records":      "output.TestFieldsThatBoundTheBuffer",
	"max_buffered_bytes":        "output.TestFieldsThatBoundTheBuffer",
	"max_in_flight_requests":    "output.TestFieldMaxInFlightRequests",
	"record_retries":            "output.TestFieldRecordRetries",
	"record_delivery_timeout":   "output.TestSG04_LostRecordIsReportedAtOnce",
	"linger":                    "output.TestFieldLinger",
	"rack_id":                   "TestFieldsWithoutEffect",
	"inject_tracing_map":        "TestFieldsOfTracing",
}

// eventTimeFields are those that both watermark processors have.
var eventTimeFields = map[string]string{
	"timestamp":          "TestWatermarksAreAssigned",
	"timestamp_assigner": "processor.TestFieldTimestampAssigner",
	"idle_timeout":       "TestFieldIdleTimeout",
	"max_drift":          "TestWhoIsAheadWaits",
	"interval":           "TestFieldInterval",
	"on_bad_timestamp":   "processor.TestFieldOnBadTimestamp",
	"metadata":           "processor.TestWhatMetadataDoNotSayIsSaidOtherwise",
}

var periodicFields = map[string]string{
	"max_out_of_orderness": "processor.TestFieldMaxOutOfOrderness",
	"generator":            "processor.TestFieldGenerator",
}

var punctuatedFields = map[string]string{
	"watermark": "processor.TestFieldWatermark",
	"generator": "processor.TestFieldGenerator",
}

// specField is a field of a specification as Benthos prints it.
type specField struct {
	Name     string      `json:"name"`
	Children []specField `json:"children"`
}

// leaves returns the paths of the fields that have no fields below them.
func leaves(prefix string, fields []specField) (paths []string) {
	for _, f := range fields {
		if len(f.Children) == 0 {
			paths = append(paths, prefix+f.Name)
			continue
		}
		paths = append(paths, leaves(prefix+f.Name+".", f.Children)...)
	}
	return paths
}

// specLeaves returns the paths of all fields of our components, by name: kafka_checkpointed
// is an input and an output.
func specLeaves(t *testing.T) (inputs, outputs []string, processors map[string][]string) {
	t.Helper()
	env := service.NewEmptyEnvironment()
	require.NoError(t, input.Register(env, nil))
	require.NoError(t, output.Register(env, nil))
	require.NoError(t, processor.RegisterPeriodic(env))
	require.NoError(t, processor.RegisterPunctuated(env))
	read := func(view *service.ConfigView) []string {
		text, err := view.FormatJSON()
		require.NoError(t, err)
		var doc struct {
			Config specField `json:"config"`
		}
		require.NoError(t, json.Unmarshal(text, &doc))
		return leaves("", doc.Config.Children)
	}
	processors = map[string][]string{}
	env.WalkInputs(func(_ string, view *service.ConfigView) { inputs = read(view) })
	env.WalkOutputs(func(_ string, view *service.ConfigView) { outputs = read(view) })
	env.WalkProcessors(func(name string, view *service.ConfigView) { processors[name] = read(view) })
	return inputs, outputs, processors
}

// tests returns the names of the test functions of this package, and of others
// as `package.Test`.
func tests(t *testing.T) map[string]bool {
	t.Helper()
	found := map[string]bool{}
	for prefix, folder := range map[string]string{
		"": ".", "input.": "../../input", "output.": "../../output", "processor.": "../../processor", "cmd.": "../../cmd/tidemark", "formats.": "../formats",
	} {
		files, err := filepath.Glob(path.Join(folder, "*_test.go"))
		require.NoError(t, err)
		for _, name := range files {
			f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
			require.NoError(t, err)
			for _, d := range f.Decls {
				if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && strings.HasPrefix(fn.Name.Name, "Test") {
					found[prefix+fn.Name.Name] = true
				}
			}
		}
	}
	return found
}

// Nothing may be configurable that no test has seen take effect.
func TestEveryFieldHasATest(t *testing.T) {
	known := tests(t)
	inputs, outputs, processors := specLeaves(t)
	check := func(component string, least int, fields []string, shared, own map[string]string) {
		require.GreaterOrEqual(t, len(fields), least, component)
		entries := maps.Clone(shared)
		maps.Copy(entries, own)
		for _, field := range fields {
			if entries[field] == "" {
				t.Errorf("%s: no test shows the field %s take effect", component, field)
			}
		}
		for field, test := range entries {
			if !slices.Contains(fields, field) {
				t.Errorf("%s: there is no field %s", component, field)
			}
			if !known[test] {
				t.Errorf("%s: the test %s of field %s does not exist", component, test, field)
			}
		}
	}
	check("input", 61, inputs, sharedFields, inputFields)
	check("output", 61, outputs, sharedFields, outputFields)
	check(processor.NamePeriodic, 8, processors[processor.NamePeriodic], eventTimeFields, periodicFields)
	check(processor.NamePunctuated, 8, processors[processor.NamePunctuated], eventTimeFields, punctuatedFields)
}
