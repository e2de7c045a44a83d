package tidemark_test

import (
	"context"
	"fmt"
	"os"

	_ "github.com/redpanda-data/benthos/v4/public/components/pure"
	"github.com/redpanda-data/benthos/v4/public/service"

	"github.com/tidemarkhq/tidemark/internal/engine"
)

// An input, a processor and an output that know nothing of each other share the
// checkpoints of a stream. The second run reads a longer list: it goes on behind
// what the first one has done, and with its counts.
func Example() {
	env := service.NewEnvironment()
	if err := register(env); err != nil {
		fmt.Println(err)
		return
	}
	directory, err := os.MkdirTemp("", "words")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(directory)

	for _, list := range []string{"[ebb, flow, ebb]", "[ebb, flow, ebb, ebb, tide]"} {
		fmt.Println("run")
		if err := run(env, list, directory); err != nil {
			fmt.Println(err)
		}
	}
	// Output:
	// run
	// ebb 1
	// flow 1
	// ebb 2
	// run
	// ebb 3
	// tide 1
}

func register(env *service.Environment) error {
	fields := service.NewConfigSpec().Fields(service.NewStringListField("list"), service.NewStringField("directory"))
	if err := env.RegisterBatchInput("words", fields, newWords); err != nil {
		return err
	}
	if err := env.RegisterProcessor("count", service.NewConfigSpec(), newCount); err != nil {
		return err
	}
	return env.RegisterOutput("printer", service.NewConfigSpec(), newPrinter)
}

func run(env *service.Environment, list, directory string) error {
	builder := env.NewStreamBuilder()
	err := builder.SetYAML(fmt.Sprintf(`
input:
  words: { list: %s, directory: %s }
pipeline:
  threads: 1 # A processor is built once per thread, and an operator's name is unique.
  processors: [ { count: {} } ]
output:
  printer: {}
logger:
  level: NONE
`, list, directory))
	if err != nil {
		return err
	}
	stream, err := builder.Build()
	if err != nil {
		return err
	}
	if err := stream.Run(context.Background()); err != nil {
		return err
	}
	return engine.Failed() // A build of your own calls plugins.Failed.
}
