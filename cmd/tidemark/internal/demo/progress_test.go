package demo

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

func TestProgressLine(t *testing.T) {
	g := &gauges{}
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	var out strings.Builder
	p := progress{out: &out, gauges: g, now: func() time.Time { return now }, at: now, since: now}

	now = now.Add(time.Second)
	g.NewCounterCtor("tidemark_records_out", "topic")("a").Incr(100)
	g.NewCounterCtor("tidemark_records_out", "topic")("b").Incr(50)
	g.NewGaugeCtor("tidemark_lag", "topic")("a").Set(7)
	p.print()

	g.NewGaugeCtor("tidemark_last_checkpoint_id")().Set(3)
	p.look()
	now = now.Add(2 * time.Second)
	g.NewCounterCtor("tidemark_records_out", "topic")("a").Incr(10)
	g.NewTimerCtor("took")().Timing(1)
	p.print()

	assert.Equal(t, "03:04:06  records 150  rate 150/s  lag 7  checkpoint none yet\n"+
		"03:04:08  records 160  rate 5/s  lag 7  checkpoint 3, 2.0s ago\n", out.String())
}

func TestPositionSaysWhereARunStarts(t *testing.T) {
	assert.Equal(t, "First run: starting at the first order.", position{}.String())
	assert.Equal(t, "Resuming at the last checkpoint, after 7 of 9 orders (partition 0 at 3, partition 1 at 4).",
		position{written: 9, done: 7, partitions: []string{"partition 0 at 3", "partition 1 at 4"}}.String())
}
