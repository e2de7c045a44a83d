package checkpoints

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/dustin/go-humanize"
	"github.com/urfave/cli/v2"

	"github.com/tidemarkhq/tidemark/checkpoint"
	"github.com/tidemarkhq/tidemark/internal/kafka"
	"github.com/tidemarkhq/tidemark/internal/savepoint"
)

func export(ctx context.Context, c *cli.Context) error {
	to := c.String(flagTo)
	if to == "" {
		return errors.New("--to is not set: name the file to write")
	}
	return withArchive(ctx, c, func(a savepoint.Archive) error {
		s, err := a.Snapshot(ctx, checkpoint.ID(c.Int64(flagID)))
		if err != nil {
			return idError(c, err)
		}
		sum, err := savepoint.Write(ctx, to, s)
		if err == nil {
			warnHeld(c, s)
			m := s.Manifest()
			fmt.Fprintf(c.App.Writer, "Exported checkpoint %d of job %s to %s: %s\n", m.ID, m.Job, to, amount(sum))
		} else {
			err = fmt.Errorf("--to %s: %w", to, err)
		}
		return errors.Join(err, s.Close())
	})
}

// warnHeld says if a checkpoint may not be the last one of its job.
func warnHeld(c *cli.Context, s savepoint.Snapshot) {
	held, ok := s.(savepoint.Held)
	if !ok {
		return
	}
	for p := range s.Manifest().Positions {
		if of := held.Holders()[p]; !of.Free {
			fmt.Fprintf(c.App.ErrWriter, "warning: the job was not stopped in good order, %q may be at work with it: what it does from now on is not in the savepoint\n", of.ID)
			return
		}
	}
}

// amount says how much a checkpoint holds.
func amount(s savepoint.Summary) string {
	return fmt.Sprintf("%d partitions, %d values of state (%s)", s.Positions, s.Keys(), humanize.IBytes(uint64(s.Bytes())))
}

func imports(ctx context.Context, c *cli.Context) (err error) {
	p, err := placeOf(c)
	if err != nil {
		return err
	}
	to, err := target(c, p)
	if err != nil {
		return err
	}
	names := c.StringSlice(flagFrom)
	if len(names) == 0 {
		return errors.New("--from is not set: name a savepoint file; repeat the flag for each one")
	}
	var files []*savepoint.File
	defer func() {
		for _, f := range files {
			_ = f.Close() // It was only read.
		}
	}()
	for _, name := range names {
		f, err := savepoint.Open(ctx, name)
		if err != nil {
			return fmt.Errorf("--from %s: %w", name, err)
		}
		files = append(files, f)
		if f.Origin().Group {
			fmt.Fprintf(c.App.ErrWriter, "warning: %s holds what one member of a consumer group had: give the savepoints of all members, or what the others had is missing\n", name)
		}
	}
	merged, err := savepoint.Merge(files, to)
	if err != nil {
		return err
	}
	counted := &counting{Snapshot: merged}
	if err := p.importer().Import(ctx, counted); err != nil {
		return err
	}
	m := merged.Manifest()
	fmt.Fprintf(c.App.Writer, "Imported checkpoint %d of job %s into %s, for %s: %d partitions, %d values of state (%s)\n",
		m.ID, m.Job, p, merged.Origin().Share, len(m.Positions), counted.values, humanize.IBytes(counted.bytes))
	return nil
}

// counting counts what is read of a snapshot.
type counting struct {
	savepoint.Snapshot
	values int
	bytes  uint64
}

// Each implements savepoint.Snapshot.
func (n *counting) Each(ctx context.Context, fn func(savepoint.Entry) error) error {
	n.values, n.bytes = 0, 0
	return n.Snapshot.Each(ctx, func(e savepoint.Entry) error {
		n.values++
		n.bytes += uint64(len(e.Key) + len(e.Value))
		return fn(e)
	})
}

// longestJob is how long the name of a job may be, as the input has it.
const longestJob = 249

func target(c *cli.Context, p place) (to savepoint.Target, err error) {
	to = savepoint.Target{Job: p.job, ShardOf: kafka.ShardOf, Share: p.share}
	if len(to.Job) > longestJob {
		return to, fmt.Errorf("--job is %d bytes long: use at most %d", len(to.Job), longestJob)
	}
	if p.topic != nil {
		if c.IsSet(flagShard) {
			return to, errors.New("--shard is set, and the store is a topic, which takes all partitions: remove it")
		}
		to.Share = &savepoint.Share{}
	}
	if !c.IsSet(flagShard) {
		return to, nil
	}
	text := c.String(flagShard)
	before, after, _ := strings.Cut(text, "/")
	index, err1 := strconv.Atoi(before)
	count, err2 := strconv.Atoi(after)
	if err1 != nil || err2 != nil || count < 1 || index < 0 || index >= count {
		return to, fmt.Errorf("--shard is %q: use INDEX/COUNT, such as 0/3; the index goes from 0 to the count - 1", text)
	}
	to.Share = &savepoint.Share{Shard: checkpoint.Shard{Index: index, Count: count}}
	return to, nil
}

func remove(ctx context.Context, c *cli.Context) error {
	id, all := checkpoint.ID(c.Int64(flagID)), c.Bool(flagAll)
	switch {
	case id != 0 && all:
		return errors.New("--id and --all are set: remove one of them")
	case id == 0 && !all:
		return errors.New("neither --id nor --all is set: say what to delete")
	}
	return withArchive(ctx, c, func(a savepoint.Archive) error {
		if !all {
			if err := a.Delete(ctx, id); err != nil {
				return fmt.Errorf("--id %d: %w", id, err)
			}
			fmt.Fprintf(c.App.Writer, "Deleted checkpoint %d of job %s\n", id, a.Job())
			return nil
		}
		if !c.Bool(flagYes) {
			return fmt.Errorf("--all deletes every checkpoint of job %q in %s, and the job starts afresh: confirm it with --yes", a.Job(), a.Origin().Place)
		}
		if err := a.DeleteAll(ctx); err != nil {
			return err
		}
		fmt.Fprintf(c.App.Writer, "Deleted all checkpoints of job %s\n", a.Job())
		return nil
	})
}
