// Package tidemark lets Benthos plugins take part in the checkpoints of a stream.
//
// A stream that reads with a kafka_checkpointed input has a coordinator, which
// decides when a checkpoint is taken and when the stream goes back to its last
// one. An input, a processor, a cache or an output of your own joins it in its
// constructor, with the resources that Benthos hands it:
//
//	func newTotals(conf *service.ParsedConfig, res *service.Resources) (service.BatchProcessor, error) {
//		p := &totals{}
//		handle, err := tidemark.Coordinator(res).JoinOperator("totals", p)
//		if err != nil {
//			return nil, err
//		}
//		p.state = handle.State()
//		return p, nil
//	}
//
// What it has to do from then on depends on its role: source, operator or sink.
// Package checkpoint describes the three, and the example of this package has one
// of each. A plugin that neither keeps state nor acknowledges what it has not
// delivered need not join.
package tidemark

import (
	"github.com/redpanda-data/benthos/v4/public/service"

	"github.com/tidemarkhq/tidemark/checkpoint"
	"github.com/tidemarkhq/tidemark/internal/engine"
)

// Coordinator returns the coordinator of the stream that a component with these
// resources belongs to. Call it in the component's constructor: after a config
// reload the stream has another one.
func Coordinator(res *service.Resources) checkpoint.Coordinator { return engine.For(res) }
