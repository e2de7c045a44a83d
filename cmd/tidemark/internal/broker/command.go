package broker

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/urfave/cli/v2"
)

// Command is the subcommand that runs a broker alone.
func Command() *cli.Command {
	return &cli.Command{
		Name:  "broker",
		Usage: "Run the embedded Kafka broker, for trying things out",
		Description: `
Runs a single broker with its data in a folder, until it is interrupted. Topics
are created when a client first asks for them.

  {{.BinaryName}} broker
  KAFKA_BROKERS=127.0.0.1:9092 {{.BinaryName}} run ./config/copy.yaml`[1:],
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "listen", Value: "127.0.0.1:9092", Usage: "the address to listen on, which clients are told to connect to"},
			&cli.StringFlag{Name: "data", Value: "./data/broker", Usage: "the folder that keeps the data; empty keeps it in memory"},
			&cli.IntFlag{Name: "partitions", Value: 4, Usage: "the number of partitions of topics that are created automatically"},
		},
		Action: func(c *cli.Context) error {
			ctx, stop := signal.NotifyContext(c.Context, os.Interrupt, syscall.SIGTERM)
			defer stop()
			return run(ctx, c)
		},
	}
}

func run(ctx context.Context, c *cli.Context) error {
	b, err := Start(Options{
		Listen: c.String("listen"), Dir: c.String("data"), Partitions: c.Int("partitions"),
		Logger: slog.New(slog.NewTextHandler(c.App.ErrWriter, &slog.HandlerOptions{Level: slog.LevelWarn})),
	})
	if err != nil {
		return err
	}
	where := "in " + c.String("data")
	if c.String("data") == "" {
		where = "in memory"
	}
	fmt.Fprintf(c.App.Writer, "Broker listening on %s, data %s. Use CTRL+C to stop.\n", b.Addr(), where)
	<-ctx.Done()
	fmt.Fprintln(c.App.Writer, "Broker stopping.")
	return b.Close()
}
