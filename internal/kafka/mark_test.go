package kafka_test

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tidemarkhq/tidemark/checkpoint"
	"github.com/tidemarkhq/tidemark/internal/kafka"
)

// golden are marks as their versions have always written them, the newest first. A line
// is never changed: groups carry such marks.
var golden = []struct {
	text string
	mark kafka.Mark
}{
	{"tidemark/4 job=orders cp=17 stop=-1 parts=4 since=1790000000123 run=1790000000456 at=1790000000789 topic=000102030405060708090a0b0c0d0eff wm=-5 writer=tidemark-orders-a+1 member=m%3D2 crc=7eb201c0", kafka.Mark{Job: "orders", Checkpoint: 17, Stop: kafka.NoStop,
		Partitions: 4, Since: time.UnixMilli(1790000000123).UTC(), Run: time.UnixMilli(1790000000456).UTC(), At: time.UnixMilli(1790000000789).UTC(),
		Topic: kafka.TopicID{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 255}, Watermark: checkpoint.Watermark{Known: true, At: -5},
		Writer: "tidemark-orders-a 1", Member: "m=2"}},
	{"tidemark/3 job=orders cp=17 stop=-1 parts=4 since=1790000000123 run=1790000000456 at=1790000000789 topic=000102030405060708090a0b0c0d0eff wm=-5 crc=b614f2ac", kafka.Mark{Job: "orders", Checkpoint: 17, Stop: kafka.NoStop,
		Partitions: 4, Since: time.UnixMilli(1790000000123).UTC(), Run: time.UnixMilli(1790000000456).UTC(), At: time.UnixMilli(1790000000789).UTC(),
		Topic: kafka.TopicID{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 255}, Watermark: checkpoint.Watermark{Known: true, At: -5}}},
	{"tidemark/3 job= cp=1 stop=0 parts=0 since=0 run=0 at=0 topic=00000000000000000000000000000000 wm=- crc=387cd8cf", kafka.Mark{Checkpoint: 1}},
	{"tidemark/2 job=orders cp=17 stop=-1 parts=4 since=1790000000123 run=1790000000456 at=1790000000789 topic=000102030405060708090a0b0c0d0eff crc=b9c9fef0", kafka.Mark{Job: "orders", Checkpoint: 17, Stop: kafka.NoStop,
		Partitions: 4, Since: time.UnixMilli(1790000000123).UTC(), Run: time.UnixMilli(1790000000456).UTC(), At: time.UnixMilli(1790000000789).UTC(),
		Topic: kafka.TopicID{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 255}}},
	{"tidemark/2 job= cp=1 stop=0 parts=0 since=0 run=0 at=0 topic=00000000000000000000000000000000 crc=06f83247", kafka.Mark{Checkpoint: 1}},
	{"tidemark/1 job=orders cp=17 stop=-1 parts=4 since=1790000000123 run=1790000000456 at=1790000000789 crc=b18221e6", kafka.Mark{Job: "orders", Checkpoint: 17, Stop: kafka.NoStop,
		Partitions: 4, Since: time.UnixMilli(1790000000123).UTC(), Run: time.UnixMilli(1790000000456).UTC(), At: time.UnixMilli(1790000000789).UTC()}},
	{"tidemark/1 job=a+b%3Dc%0A%C3%BC cp=1 stop=0 parts=0 since=0 run=0 at=0 crc=398763a4", kafka.Mark{Job: "a b=c\nü", Checkpoint: 1}},
	{"tidemark/1 job= cp=9223372036854775807 stop=9223372036854775807 parts=2147483647 since=-1 run=0 at=0 crc=c53640ca", kafka.Mark{Checkpoint: math.MaxInt64,
		Stop: math.MaxInt64, Partitions: math.MaxInt32, Since: time.UnixMilli(-1).UTC()}},
}

// written tells a text of a version that is still written.
func written(text string) bool {
	return strings.HasPrefix(text, fmt.Sprintf("tidemark/%d ", kafka.MarkVersion)) || strings.HasPrefix(text, fmt.Sprintf("tidemark/%d ", kafka.MarkVersion-1))
}

func TestMarkGolden(t *testing.T) {
	for _, g := range golden {
		if written(g.text) {
			assert.Equal(t, g.text, g.mark.String())
		}
		m, ok, err := kafka.ParseMark(g.text)
		require.NoError(t, err)
		assert.True(t, ok)
		assert.Equal(t, g.mark, m)
	}
}

func TestMarkOfOthersIsNone(t *testing.T) {
	for _, text := range []string{"", "consumer-1-d2a6", `{"job":"tidemark"}`, "tidemark", "TIDEMARK/1 job=a"} {
		m, ok, err := kafka.ParseMark(text)
		assert.NoError(t, err, text)
		assert.False(t, ok, text)
		assert.Zero(t, m)
	}
}

func TestMarkDamagedOrUnknownIsAnError(t *testing.T) {
	whole := golden[0].text
	texts := []string{"tidemark/5 job=orders cp=17 stop=-1", "tidemark/01 job=a", whole + " "}
	for i := len("tidemark/"); i < len(whole); i++ {
		texts = append(texts, whole[:i]) // cut
		flipped := []byte(whole)
		flipped[i] ^= 1
		texts = append(texts, string(flipped))
	}
	for _, text := range texts {
		_, ok, err := kafka.ParseMark(text)
		var damaged *kafka.MarkError
		assert.ErrorAs(t, err, &damaged, text)
		assert.False(t, ok, text)
		assert.Equal(t, kafka.Fatal, kafka.Classify(kafka.Commit, err).Meaning)
	}
}

func FuzzMark(f *testing.F) {
	for _, g := range golden {
		f.Add(g.mark.Job, g.mark.Checkpoint, g.mark.Stop, g.mark.Partitions, int64(1), g.text)
	}
	f.Fuzz(func(t *testing.T, job string, cp, stop int64, partitions int32, since int64, text string) {
		want := kafka.Mark{Job: job, Checkpoint: cp, Stop: stop, Partitions: partitions}
		if since %= 1 << 50; since != 0 {
			want.Since, want.Run = time.UnixMilli(since).UTC(), time.UnixMilli(-since).UTC()
		}
		got, ok, err := kafka.ParseMark(want.String())
		if err != nil || !ok || got != want {
			t.Fatalf("%q came back as %+v, %v, %v", want, got, ok, err)
		}
		if m, ok, err := kafka.ParseMark(text); ok && (err != nil || written(text) && m.String() != text) {
			t.Fatalf("%q was accepted as %+v, %v", text, m, err)
		}
	})
}
