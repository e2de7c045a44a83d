package checkpoints

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/urfave/cli/v2"

	"github.com/tidemarkhq/tidemark/checkpoint"
	"github.com/tidemarkhq/tidemark/internal/savepoint"
	"github.com/tidemarkhq/tidemark/watermark"
)

// What list and show print as JSON. Times are RFC 3339; a field without a value is
// left out.
type (
	listing struct {
		Job         string  `json:"job"`
		Store       string  `json:"store"`
		Place       string  `json:"place"`
		Partitions  string  `json:"share"`
		Checkpoints []entry `json:"checkpoints"`
	}
	entry struct {
		ID         checkpoint.ID `json:"id"`
		Taken      time.Time     `json:"taken"`
		Kind       string        `json:"kind"`
		Final      bool          `json:"final"`
		Partitions int           `json:"partitions"`
	}
	details struct {
		Job string `json:"job"`
		entry
		Store     string     `json:"store"`
		Place     string     `json:"place,omitempty"`
		Share     string     `json:"share"`
		Shard     *shard     `json:"shard,omitempty"`
		Group     bool       `json:"group,omitempty"`
		Positions []position `json:"positions"`
		Operators []operator `json:"operators"`
	}
	shard struct {
		Index int `json:"index"`
		Count int `json:"count"`
	}
	position struct {
		Source      string             `json:"source"`
		Topic       string             `json:"topic"`
		Partition   int32              `json:"partition"`
		Next        checkpoint.Offset  `json:"next"`
		Stop        *checkpoint.Offset `json:"stop,omitempty"`
		LeaderEpoch *int32             `json:"leader_epoch,omitempty"`
		WatermarkMS *int64             `json:"watermark_ms,omitempty"`
		*holder
	}
	// holder is what a topic knows of each partition.
	holder struct {
		Checkpoint checkpoint.ID `json:"checkpoint"`
		HeldBy     string        `json:"held_by"`
		GivenUp    bool          `json:"given_up"`
		Keys       int64         `json:"keys"`
		Bytes      int64         `json:"bytes"`
	}
	operator struct {
		Name   string `json:"name"`
		Scopes int    `json:"partitions"`
		Keys   int64  `json:"keys"`
		Bytes  int64  `json:"bytes"`
	}
)

func list(ctx context.Context, c *cli.Context) error {
	return withArchive(ctx, c, func(a savepoint.Archive) error {
		all, err := a.List(ctx)
		if err != nil {
			return err
		}
		o := a.Origin()
		l := listing{Job: a.Job(), Store: o.Store, Place: o.Place, Partitions: o.Share.String(), Checkpoints: []entry{}}
		for _, m := range all {
			l.Checkpoints = append(l.Checkpoints, entryOf(&m))
		}
		if c.String(flagOutput) == outputJSON {
			return printJSON(c.App.Writer, l)
		}
		t := newTable(c.App.Writer)
		t.row("JOB", "STORE")
		t.row(l.Job, o)
		t.row()
		t.row("CHECKPOINT", "TAKEN", "PARTITIONS", "CUT", "FINAL")
		for _, e := range l.Checkpoints {
			t.row(e.ID, e.Taken.Format(time.RFC3339Nano), e.Partitions, e.Kind, yes(e.Final))
		}
		return t.end()
	})
}

func show(ctx context.Context, c *cli.Context) error {
	path := c.String(flagFile)
	if path == "" {
		if !stored(c) {
			return errors.New("none of --directory, --topic, --config and --file is set: name a store, the file of the pipeline, or a savepoint file")
		}
		return withArchive(ctx, c, func(a savepoint.Archive) error {
			s, err := a.Snapshot(ctx, checkpoint.ID(c.Int64(flagID)))
			if err != nil {
				return idError(c, err)
			}
			sum, err := savepoint.Measure(ctx, s)
			if err == nil {
				err = printDetails(c, s, sum)
			}
			return errors.Join(err, s.Close())
		})
	}
	if stored(c) || c.IsSet(flagID) {
		return errors.New("--file is set, and so is a store or --id: a file holds one checkpoint, remove the others")
	}
	f, err := savepoint.Open(ctx, path)
	if err != nil {
		return fmt.Errorf("--file %s: %w", path, err)
	}
	return errors.Join(printDetails(c, f, f.Summary()), f.Close())
}

// stored tells that a flag names a store.
func stored(c *cli.Context) bool { return slices.ContainsFunc(flagsOfStores, c.IsSet) }

// idError names the flag where there is no such checkpoint.
func idError(c *cli.Context, err error) error {
	if errors.Is(err, savepoint.ErrUnknownID) {
		return fmt.Errorf("--id %d: %w", c.Int64(flagID), err)
	}
	return err
}

func entryOf(m *checkpoint.Manifest) entry {
	return entry{ID: m.ID, Taken: m.Taken.UTC(), Kind: m.Kind.String(), Final: m.Final, Partitions: len(m.Positions)}
}

func printDetails(c *cli.Context, s savepoint.Snapshot, sum savepoint.Summary) error {
	d := detailsOf(s, sum)
	if c.String(flagOutput) == outputJSON {
		return printJSON(c.App.Writer, d)
	}
	t := newTable(c.App.Writer)
	t.row("JOB", "CHECKPOINT", "TAKEN", "CUT", "FINAL", "FROM")
	t.row(d.Job, d.ID, d.Taken.Format(time.RFC3339Nano), d.Kind, yes(d.Final), s.Origin())
	t.row()
	t.positions(d.Positions)
	t.row()
	if s.Origin().Store == savepoint.FromNone {
		t.row("There is no store, so positions are all it holds.")
		return t.end()
	}
	t.row("OPERATOR", "PARTITIONS", "KEYS", "SIZE")
	for _, o := range d.Operators {
		t.row(o.Name, o.Scopes, o.Keys, humanize.IBytes(uint64(o.Bytes)))
	}
	return t.end()
}

func (t table) positions(ps []position) {
	head := []any{"PARTITION", "NEXT OFFSET", "STOP", "LEADER EPOCH", "WATERMARK"}
	if len(ps) > 0 && ps[0].holder != nil {
		head = append(head, "CHECKPOINT", "KEYS", "SIZE", "HELD BY")
	}
	t.row(head...)
	for _, p := range ps {
		mark := "-"
		if p.WatermarkMS != nil {
			mark = instant(watermark.Time(*p.WatermarkMS))
		}
		row := []any{checkpoint.Partition{Source: p.Source, Topic: p.Topic, ID: p.Partition}, p.Next, value(p.Stop), value(p.LeaderEpoch), mark}
		if h := p.holder; h != nil {
			by := h.HeldBy
			if h.GivenUp {
				by += " (given up)"
			}
			row = append(row, h.Checkpoint, h.Keys, humanize.IBytes(uint64(h.Bytes)), by)
		}
		t.row(row...)
	}
}

func detailsOf(s savepoint.Snapshot, sum savepoint.Summary) details {
	m, o := s.Manifest(), s.Origin()
	d := details{
		Job: m.Job, entry: entryOf(m), Store: o.Store, Place: o.Place, Share: o.Share.String(), Group: o.Group,
		Positions: []position{}, Operators: []operator{},
	}
	if o.Share.Shard.Count > 0 {
		d.Shard = &shard{o.Share.Shard.Index, o.Share.Shard.Count}
	}
	var holders map[checkpoint.Partition]savepoint.Holder
	if held, ok := s.(savepoint.Held); ok {
		holders = held.Holders()
	}
	for _, p := range m.Positions.Sorted() {
		at := m.Positions[p]
		row := position{Source: p.Source, Topic: p.Topic, Partition: p.ID, Next: at.Next}
		if at.Stop != checkpoint.Unbounded {
			row.Stop = &at.Stop
		}
		if at.LeaderEpoch != checkpoint.UnknownEpoch {
			row.LeaderEpoch = &at.LeaderEpoch
		}
		if at.Watermark.Known {
			row.WatermarkMS = &at.Watermark.At
		}
		if of, ok := holders[p]; ok {
			state := sum.Scopes[p]
			row.holder = &holder{of.Checkpoint, of.ID, of.Free, state.Keys, state.Bytes}
		}
		d.Positions = append(d.Positions, row)
	}
	for _, op := range sum.Operators {
		d.Operators = append(d.Operators, operator{op.Name, op.Scopes, op.Keys, op.Bytes})
	}
	return d
}

func printJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// table prints columns. Writing to it never fails; end does.
type table struct{ w *tabwriter.Writer }

func newTable(w io.Writer) table { return table{tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)} }

func (t table) row(cells ...any) {
	for i, cell := range cells {
		if i > 0 {
			_, _ = fmt.Fprint(t.w, "\t")
		}
		_, _ = fmt.Fprint(t.w, cell)
	}
	_, _ = fmt.Fprintln(t.w)
}

func (t table) end() error { return t.w.Flush() }

func yes(v bool) string {
	if v {
		return "yes"
	}
	return "no"
}

// instant prints an event time.
func instant(at watermark.Time) string {
	if !at.Known() {
		return at.String()
	}
	return time.UnixMilli(int64(at)).UTC().Format("2006-01-02T15:04:05.000Z")
}

// value prints what may be missing.
func value[T any](v *T) string {
	if v == nil {
		return "-"
	}
	return fmt.Sprint(*v)
}
