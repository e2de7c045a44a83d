package demo

import (
	"context"
	"fmt"
	"io"
	"time"
)

// progress prints how a run gets on.
type progress struct {
	out    io.Writer
	gauges *gauges
	now    func() time.Time

	// at and moved are the time and the records of the line before.
	at    time.Time
	moved int64
	// checkpoint is the last one seen, since when.
	checkpoint int64
	since      time.Time
}

// watch prints a line each second until ctx ends or the pipeline does.
func (p *progress) watch(ctx context.Context, ended <-chan error) error {
	p.at, p.since = p.now(), p.now()
	// Checkpoints are looked for more often, so that their age is about right.
	look, line := time.NewTicker(100*time.Millisecond), time.NewTicker(time.Second)
	defer look.Stop()
	defer line.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-ended:
			if err == nil {
				err = fmt.Errorf("the pipeline has ended by itself")
			}
			return err
		case <-look.C:
			p.look()
		case <-line.C:
			p.print()
		}
	}
}

func (p *progress) look() {
	if id := p.gauges.sum("tidemark_last_checkpoint_id"); id != p.checkpoint {
		p.checkpoint, p.since = id, p.now()
	}
}

func (p *progress) print() {
	p.look()
	now, moved := p.now(), p.gauges.sum("tidemark_records_out")
	rate := 0.0
	if took := now.Sub(p.at).Seconds(); took > 0 {
		rate = float64(moved-p.moved) / took
	}
	p.at, p.moved = now, moved
	checkpoint := "none yet"
	if p.checkpoint > 0 {
		checkpoint = fmt.Sprintf("%d, %.1fs ago", p.checkpoint, now.Sub(p.since).Seconds())
	}
	fmt.Fprintf(p.out, "%s  records %d  rate %.0f/s  lag %d  checkpoint %s\n",
		now.Format(time.TimeOnly), moved, rate, p.gauges.sum("tidemark_lag"), checkpoint)
}
