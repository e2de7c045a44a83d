package checkpoints

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"syscall"

	"github.com/urfave/cli/v2"
)

// Names of flags.
const (
	flagDirectory = "directory"
	flagID        = "id"
	flagFile      = "file"
	flagTo        = "to"
	flagFrom      = "from"
	flagJob       = "job"
	flagShard     = "shard"
	flagAll       = "all"
	flagYes       = "yes"
	flagOutput    = "output"

	flagConfig     = "config"
	flagTopic      = "topic"
	flagBrokers    = "brokers"
	flagPartitions = "partitions"
	flagForce      = "force"
)

// Command is the subcommand.
func Command() *cli.Command {
	return &cli.Command{
		Name:  "checkpoint",
		Usage: "List, show, export, import and delete the checkpoints of a job",
		Description: `
A savepoint is a checkpoint in a file of its own. It can be imported into a store
of any kind, and by any number of shards, so a job moves and rescales by it:

  {{.BinaryName}} checkpoint export --directory ./shard-0 --to 0.savepoint
  {{.BinaryName}} checkpoint export --directory ./shard-1 --to 1.savepoint
  {{.BinaryName}} checkpoint import --from 0.savepoint --from 1.savepoint --directory ./new-0 --shard 0/3

A store is a folder (--directory), or in a topic (--topic with --brokers), or that of
a pipeline, which says how it is reached, with TLS and SASL:

  {{.BinaryName}} checkpoint export --config orders.yaml --to orders.savepoint
  {{.BinaryName}} checkpoint import --from orders.savepoint --topic moved --brokers localhost:9092

A folder that a running job keeps is locked. Stop the job, or ask it for a savepoint:
by the signal USR2, or by HTTP (see docs/operating.md). What a topic holds can be
listed, shown and exported while the job runs.`[1:],
		Action: func(c *cli.Context) error {
			if name := c.Args().First(); name != "" {
				return fmt.Errorf("checkpoint has no command %q: use list, show, export, import or delete", name)
			}
			return cli.ShowSubcommandHelp(c)
		},
		Subcommands: []*cli.Command{listCommand(), showCommand(), exportCommand(), importCommand(), deleteCommand()},
	}
}

func listCommand() *cli.Command {
	return &cli.Command{
		Name: "list", Usage: "List the checkpoints of a store",
		Flags:  append(storeFlags(jobOfTopic), outputFlag()),
		Action: action(list),
	}
}

func showCommand() *cli.Command {
	return &cli.Command{
		Name: "show", Usage: "Show the positions of a checkpoint or a savepoint, and how much state it has",
		Flags: append(storeFlags(jobOfTopic), idFlag("the number of the checkpoint; unset = the last one"),
			&cli.StringFlag{Name: flagFile, Usage: "a savepoint file, instead of a store"}, outputFlag()),
		Action: action(show),
	}
}

func exportCommand() *cli.Command {
	return &cli.Command{
		Name: "export", Usage: "Write a checkpoint to a savepoint file",
		Flags: append(storeFlags(jobOfTopic), idFlag("the number of the checkpoint; unset = the last one"),
			&cli.StringFlag{Name: flagTo, Usage: "the file to write, which must not be there yet"}),
		Action: action(export),
	}
}

const importName = "import"

func importCommand() *cli.Command {
	return &cli.Command{
		Name: importName, Usage: "Make a store out of savepoint files",
		Description: `
The store must be empty, and a topic must have nothing of the job. What is imported is
the first checkpoint there, and a job that is started with it goes on there. Several
files, one of each old shard or process, are merged. A topic takes all partitions.`[1:],
		Flags: append(storeFlags("the job (checkpoint.job) to import it for; unset = that of the pipeline, or else of the files"),
			&cli.StringSliceFlag{Name: flagFrom, Usage: "a savepoint file; repeat it for each one"},
			&cli.StringFlag{Name: flagShard, Usage: "`INDEX/COUNT` of the shard to take, as shard.index and shard.count of the input; " +
				"unset = that of the pipeline, or else what a single file holds, all partitions of several"},
			&cli.IntFlag{Name: flagPartitions, Usage: "how many partitions a topic gets that is not there yet; unset = that of the pipeline, or else 16"}),
		Action: action(imports),
	}
}

func deleteCommand() *cli.Command {
	return &cli.Command{
		Name: "delete", Usage: "Delete an earlier checkpoint of a store, or all of them",
		Flags: append(storeFlags(jobOfTopic), idFlag("the number of the checkpoint, which is not the last one"),
			&cli.BoolFlag{Name: flagAll, Usage: "delete all checkpoints: the job starts afresh"},
			&cli.BoolFlag{Name: flagYes, Usage: "confirm --all"},
			&cli.BoolFlag{Name: flagForce, Usage: "delete a job from a topic although it was not stopped in good order: whatever process has it is fenced"}),
		Action: action(remove),
	}
}

func idFlag(usage string) cli.Flag { return &cli.Int64Flag{Name: flagID, Usage: usage} }

func outputFlag() cli.Flag {
	return &cli.StringFlag{Name: flagOutput, Aliases: []string{"o"}, Value: outputText, Usage: "text or json"}
}

const (
	outputText = "text"
	outputJSON = "json"
)

// action runs a subcommand until it is interrupted.
func action(run func(context.Context, *cli.Context) error) cli.ActionFunc {
	return func(c *cli.Context) error {
		if rest := c.Args().Slice(); len(rest) > 0 {
			return fmt.Errorf("unexpected argument %q: everything is given by flags; repeat a flag that takes several values", rest[0])
		}
		if out := c.String(flagOutput); !slices.Contains([]string{"", outputText, outputJSON}, out) {
			return fmt.Errorf("--output is %q: use text or json", out)
		}
		if c.IsSet(flagID) && c.Int64(flagID) < 1 {
			return fmt.Errorf("--id is %d: use the number of a checkpoint, as the command list shows it", c.Int64(flagID))
		}
		ctx, stop := signal.NotifyContext(c.Context, os.Interrupt, syscall.SIGTERM)
		defer stop()
		return run(ctx, c)
	}
}
