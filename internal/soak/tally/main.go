package main

import (
	_ "github.com/redpanda-data/benthos/v4/public/components/io"
	_ "github.com/redpanda-data/benthos/v4/public/components/pure"
	"github.com/redpanda-data/benthos/v4/public/service"

	"github.com/tidemarkhq/tidemark/plugins"
)

func main() {
	service.MustRegisterBatchProcessor("tally", operatorSpec(), newOperator)
	service.MustRegisterBatchOutput("tally_sink", sinkSpec(), newSink)
	plugins.Main(service.CLIOptSetBinaryName("tally"))
}
