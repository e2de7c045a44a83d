package behaviour

import (
	"context"
	"strings"
	"testing"

	"github.com/redpanda-data/benthos/v4/public/service/integration"

	"github.com/tidemarkhq/tidemark/internal/kafkatest"
	_ "github.com/tidemarkhq/tidemark/plugins"
)

const suiteYAML = `
output:
  kafka_checkpointed:
    seed_brokers: [ $VAR1 ]
    topic: topic-$ID
    max_in_flight: $MAX_IN_FLIGHT
    metadata:
      include_patterns: [ .* ]
    batching:
      count: $OUTPUT_BATCH_COUNT
input:
  kafka_checkpointed:
    seed_brokers: [ $VAR1 ]
    topics: [ topic-$ID$VAR4 ]
    consumer_group: $VAR2
    offset_reset: earliest
    max_batch_records: $VAR3
    ordering: none
`

// TestBenthosIntegrationSuite runs Benthos's own suite over input and output, on
// kfake and on real Kafka.
func TestBenthosIntegrationSuite(t *testing.T) {
	for name, endpoint := range map[string]func(testing.TB) kafkatest.Endpoint{
		"kfake": func(t testing.TB) kafkatest.Endpoint { return kafkatest.Fake(t) },
		"kafka": kafkatest.Shared,
	} {
		t.Run(name, func(t *testing.T) {
			e := endpoint(t)
			suite := integration.StreamTests(
				integration.StreamTestOpenClose(),
				integration.StreamTestMetadata(),
				integration.StreamTestSendBatch(10),
				integration.StreamTestSendBatches(20, 20, 1),
				integration.StreamTestSendBatchCount(10),
				integration.StreamTestStreamSequential(200),
				integration.StreamTestStreamParallel(200),
				integration.StreamTestStreamParallelLossy(50),
				integration.StreamTestCheckpointCapture(),
				integration.StreamTestAtLeastOnceDelivery(),
			)
			prepare := func(explicit string) func(testing.TB, context.Context, *integration.StreamTestConfigVars) {
				return func(t testing.TB, _ context.Context, vars *integration.StreamTestConfigVars) {
					kafkatest.CreateTopic(t, e, "topic-"+vars.ID, 1)
					vars.General["VAR2"] = "group-" + vars.ID
					vars.General["VAR4"] = explicit
				}
			}
			options := []integration.StreamTestOptFunc{
				integration.StreamTestOptVarSet("VAR1", strings.Join(e.Seeds(), ",")),
				integration.StreamTestOptVarSet("VAR3", "1"),
			}
			for assignment, explicit := range map[string]string{"group": "", "static": ":0"} {
				t.Run(assignment, func(t *testing.T) {
					suite.Run(t, suiteYAML, append(options, integration.StreamTestOptPreTest(prepare(explicit)))...)
				})
			}
		})
	}
}
