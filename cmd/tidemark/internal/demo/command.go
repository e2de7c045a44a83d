package demo

import (
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/urfave/cli/v2"
)

// Command is the subcommand that runs the demo.
func Command() *cli.Command {
	return &cli.Command{
		Name:  "demo",
		Usage: "Run a checkpointed pipeline with a broker and generated records",
		Description: `
Generates orders into one topic, and moves and enriches them into another with
the pipeline of config/demo.yaml. Interrupt it and run it again: it goes on where
its last checkpoint says.

  {{.BinaryName}} demo
  KAFKA_BROKERS=kafka:9092 {{.BinaryName}} demo    # on a Kafka of yours`[1:],
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "data", Value: "./data/demo", Usage: "the folder that keeps the broker's data"},
			&cli.StringFlag{Name: "listen", Value: "127.0.0.1:0", Usage: "the address of the broker, port 0 picks a free one"},
			&cli.IntFlag{Name: "rate", Value: 1000, Usage: "the number of orders to generate each second; 0 generates none"},
		},
		Action: func(c *cli.Context) error {
			if c.Int("rate") < 0 {
				return fmt.Errorf("the flag --rate is %d; give a number of orders each second, or 0", c.Int("rate"))
			}
			// A second interrupt, after the first has been taken, kills.
			ctx, stop := signal.NotifyContext(c.Context, os.Interrupt, syscall.SIGTERM)
			defer stop()
			d := demo{
				data: c.String("data"), listen: c.String("listen"), rate: c.Int("rate"),
				brokers: os.Getenv(brokersVariable), out: c.App.Writer, err: c.App.ErrWriter,
			}
			return d.run(ctx, stop)
		},
	}
}
