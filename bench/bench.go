package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/tidemarkhq/tidemark/internal/kafkatest"
)

// bench is what all measurements share.
type bench struct {
	kafka       kafkatest.Endpoint
	admin       *kadm.Client
	dir         string
	binaries    map[program]string
	compression string
	// runs counts runs, for names that nobody had before.
	runs int
	// stall is how long a run may stand still before it counts as hung.
	stall time.Duration
}

// run is one measured copy.
type run struct {
	System string `json:"system"`
	Load   load   `json:"load"`
	// Repetition counts from 1; runs of one repetition belong side by side.
	Repetition int `json:"repetition"`
	// Seconds is the time from the first to the last record of the output.
	Seconds    float64 `json:"seconds"`
	Rate       float64 `json:"records_per_second"`
	CPUSeconds float64 `json:"cpu_seconds"`
	CPUMicros  float64 `json:"cpu_us_per_record"`
	// PeakMiB is the largest resident set; 0 on systems other than Linux.
	PeakMiB float64 `json:"peak_rss_mib"`
	// Checkpoints is how many were completed before the end of the copy.
	Checkpoints float64 `json:"checkpoints,omitempty"`
	// Align is the median pause of the lanes for them, in milliseconds; 0 if they need none.
	Align float64 `json:"align_ms,omitempty"`
	// Busy is the load average of the machine when the run began.
	Busy float64 `json:"load_average_before"`
}

// span is a stretch of time that is known by moments in it.
type span struct{ first, last time.Time }

func (s *span) add(t time.Time) {
	if s.first.IsZero() || t.Before(s.first) {
		s.first = t
	}
	if t.After(s.last) {
		s.last = t
	}
}

// seconds is at least a millisecond, which is how finely brokers tell time.
func (s *span) seconds() float64 { return max(s.last.Sub(s.first), time.Millisecond).Seconds() }

// copyOnce has a system copy a load, checks the copy and returns what it took.
func (b *bench) copyOnce(ctx context.Context, s system, l load, want *content) (run, error) {
	r, err := b.newRoute(ctx, l.topic())
	if err != nil {
		return run{}, err
	}
	result := run{System: s.name, Load: l, Busy: loadAverage()}
	c, err := b.start(s, r)
	if err != nil {
		return result, err
	}
	seen, err := b.await(ctx, c, r.Out, l.Records)
	if err == nil && s.program == tidemark {
		// Without checkpoints there is no such metric, which is a zero.
		result.Checkpoints, _ = metric(r.HTTP, "tidemark_checkpoints_completed")
		result.Align, _ = medianMillis(r.HTTP, "tidemark_checkpoint_align_ns")
	}
	if err == nil {
		err = c.stop()
	}
	if err != nil {
		c.kill()
		return result, fmt.Errorf("running %s: %w", s.name, err)
	}
	exact, err := b.check(ctx, r.Out, want)
	if err != nil {
		return result, fmt.Errorf("checking the output of %s: %w", s.name, err)
	}
	if !exact.first.IsZero() {
		seen = exact
	}
	result.Seconds = seen.seconds()
	result.Rate = float64(l.Records) / result.Seconds
	result.CPUSeconds = c.cpu().Seconds()
	result.CPUMicros = result.CPUSeconds * 1e6 / float64(l.Records)
	result.PeakMiB = float64(c.peak) / (1 << 20)
	return result, b.forget(ctx, r)
}

// newRoute makes an output topic and names for a run.
func (b *bench) newRoute(ctx context.Context, in string) (route, error) {
	b.runs++
	r := route{
		Seeds: b.kafka.Seeds(), In: in,
		Out:         fmt.Sprintf("out-%d", b.runs),
		Group:       fmt.Sprintf("group-%d", b.runs),
		Compression: b.compression,
		Store:       filepath.Join(b.dir, fmt.Sprintf("store-%d", b.runs)),
	}
	var err error
	if r.HTTP, err = freeAddress(); err != nil {
		return r, err
	}
	return r, b.createTopic(ctx, r.Out)
}

// freeAddress is one that nobody listens on.
func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("finding a free port: %w", err)
	}
	if err := l.Close(); err != nil {
		return "", fmt.Errorf("finding a free port: %w", err)
	}
	return l.Addr().String(), nil
}

func (b *bench) start(s system, r route) (*child, error) {
	args, err := b.command(s, r)
	if err != nil {
		return nil, err
	}
	return spawn(args)
}

// await waits until a topic holds a number of records, and returns when it saw
// the first and the last of them.
func (b *bench) await(ctx context.Context, c *child, topic string, records int) (sp span, err error) {
	const pause = 50 * time.Millisecond
	tick := time.NewTicker(pause)
	defer tick.Stop()
	// Looks are counted, not time: a machine that was suspended is not a hung run.
	last, still := int64(0), time.Duration(0)
	for {
		select {
		case <-ctx.Done():
			return sp, ctx.Err()
		case <-tick.C:
		}
		c.sample()
		if err := c.ended(); err != nil {
			return sp, err
		}
		ends, err := b.ends(ctx, topic)
		if err != nil {
			return sp, err
		}
		sum := int64(0)
		for _, end := range ends {
			sum += end
		}
		still += pause
		if sum > last {
			last, still = sum, 0
			sp.add(time.Now())
		}
		if sum >= int64(records) {
			return sp, nil
		}
		if still > b.stall {
			c.kill()
			return sp, fmt.Errorf("nothing moved for %v, %d of %d records were written; its last words:\n%s", b.stall, sum, records, c.stderr.String())
		}
	}
}

// createTopic makes a topic whose records the broker dates.
func (b *bench) createTopic(ctx context.Context, name string) error {
	appended := "LogAppendTime"
	_, err := b.admin.CreateTopic(ctx, partitions, 1, map[string]*string{"message.timestamp.type": &appended}, name)
	if err != nil {
		return fmt.Errorf("creating topic %s: %w", name, err)
	}
	// The controller has the topic before the broker serves it.
	late := time.Now().Add(patience)
	for {
		_, err := b.ends(ctx, name)
		if err == nil || time.Now().After(late) || ctx.Err() != nil {
			return err
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// forget deletes what a run has left behind.
func (b *bench) forget(ctx context.Context, r route) error {
	if _, err := b.admin.DeleteTopic(ctx, r.Out); err != nil {
		return fmt.Errorf("deleting topic %s: %w", r.Out, err)
	}
	// A member that left a moment ago may still be counted, and a raw loop has no
	// group at all: a group that stays does no harm.
	_, _ = b.admin.DeleteGroup(ctx, r.Group)
	return nil
}

// ends returns the end offset of each partition of a topic.
func (b *bench) ends(ctx context.Context, topic string) ([]int64, error) {
	listed, err := b.admin.ListEndOffsets(ctx, topic)
	if err := errors.Join(err, listed.Error()); err != nil {
		return nil, fmt.Errorf("listing end offsets of %s: %w", topic, err)
	}
	ends := make([]int64, partitions)
	listed.Each(func(o kadm.ListedOffset) { ends[o.Partition] = o.Offset })
	return ends, nil
}

// loadAverage is that of the last minute, 0 where the system does not tell.
func loadAverage() float64 {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return 0
	}
	var one float64
	if _, err := fmt.Fscan(strings.NewReader(string(text)), &one); err != nil {
		return 0
	}
	return one
}
