package kafka

import (
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/tidemarkhq/tidemark/checkpoint"
)

// MarkVersion is the version of marks that this build writes; it reads those before
// it as well. A change of the text is a new version, with a golden line of its own.
//
//	1	the first one
//	2	with the id of the topic
//	3	with the watermark
//	4	with the transactional id and the member of who may write
const MarkVersion = 4

// NoStop is the Stop of a mark of an unbounded run.
const NoStop int64 = -1

// markPrefix begins every mark of every version, and no other text is ours.
const markPrefix = "tidemark/"

// Mark tells in the metadata of a committed offset that the commit is a
// checkpoint, and of whom.
type Mark struct {
	// Job that took the checkpoint.
	Job string
	// Checkpoint is its number.
	Checkpoint int64
	// Stop is where the partition's bounded run ends; NoStop if it does not.
	Stop int64
	// Partitions is how many partitions the topic had when the job first started,
	// 0 if it was not there yet: partitions beyond them were discovered later.
	Partitions int32
	// Since is when the job first started, to the millisecond, in UTC; zero if
	// that is not known.
	Since time.Time
	// Run is when the bounded run began that Stop belongs to, At when the commit was
	// made, both like Since: by them a partition that was read to its end in this
	// run is told from one of a run before.
	Run, At time.Time
	// Topic is the id of the topic whose offset it is; zero if the brokers, or the
	// version of the mark, do not say. It tells a commit from one for a topic of the
	// same name that was deleted.
	Topic TopicID
	// Watermark is how far event time had come in the partition.
	Watermark checkpoint.Watermark
	// Writer is the transactional id under which whoever made the commit writes what it
	// reads, Member who that is in the group; empty where no transactions are used. Whoever
	// gets the partition next ends what is open under it.
	Writer, Member string
}

// MarkError says that a committed offset carries a mark of ours that cannot be
// trusted. It must not be taken for somebody else's commit: that would start the
// partition somewhere else in silence.
type MarkError struct {
	Text, Reason string
}

// Error implements error.
func (e *MarkError) Error() string {
	return fmt.Sprintf("the mark %q in a committed offset's metadata %s", e.Text, e.Reason)
}

// String encodes the mark, with a checksum: tidemark/4 job=… cp=… stop=… parts=…
// since=… run=… at=… topic=… wm=… writer=… member=… crc=…
//
// One without Writer is written in version 3, so that builds before this one can go on with
// jobs that use no transactions.
func (m Mark) String() string {
	if m.Writer == "" && m.Member == "" {
		return m.text(MarkVersion - 1)
	}
	return m.text(MarkVersion)
}

func (m Mark) text(version int) string {
	body := fmt.Sprintf("%s%d job=%s cp=%d stop=%d parts=%d since=%d run=%d at=%d", markPrefix, version,
		url.QueryEscape(m.Job), m.Checkpoint, m.Stop, m.Partitions, epochMillis(m.Since), epochMillis(m.Run), epochMillis(m.At))
	if version > 1 {
		body += fmt.Sprintf(" topic=%x", m.Topic)
	}
	if version > 2 {
		body += " wm=" + watermarkText(m.Watermark)
	}
	if version > 3 {
		body += " writer=" + url.QueryEscape(m.Writer) + " member=" + url.QueryEscape(m.Member)
	}
	return body + " crc=" + checksum(body)
}

// watermarkText is a watermark as marks have it, - if it is not known; parseWatermark is
// the inverse.
func watermarkText(w checkpoint.Watermark) string {
	if !w.Known {
		return "-"
	}
	return strconv.FormatInt(w.At, 10)
}

func parseWatermark(text string) (checkpoint.Watermark, error) {
	if text == "-" {
		return checkpoint.Watermark{}, nil
	}
	at, err := strconv.ParseInt(text, 10, 64)
	return checkpoint.Watermark{Known: true, At: at}, err
}

// epochMillis is a time as marks have it, 0 for the zero time; instant is the inverse.
func epochMillis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

func instant(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}

// ParseMark reads a mark. Text that is not ours, an empty one too, is no error:
// ok is false. A mark that is damaged or of another version is a *MarkError.
func ParseMark(text string) (m Mark, ok bool, err error) {
	if !strings.HasPrefix(text, markPrefix) {
		return Mark{}, false, nil
	}
	fail := func(reason string) (Mark, bool, error) { return Mark{}, false, &MarkError{Text: text, Reason: reason} }
	named, _, _ := strings.Cut(strings.TrimPrefix(text, markPrefix), " ")
	version, err := strconv.Atoi(named)
	if err != nil || version < 1 || version > MarkVersion {
		return fail(fmt.Sprintf("is of version %q, this build knows versions up to %d: use the build that wrote it or a newer one", named, MarkVersion))
	}
	body, crc, found := strings.Cut(text, " crc=")
	if !found || crc != checksum(body) {
		return fail("is damaged: its checksum does not match")
	}
	if m, ok = parseBody(body, version); !ok || m.text(version) != text {
		return fail("is damaged: it has not the form of a mark")
	}
	return m, true, nil
}

// parseBody reads what stands in front of the checksum.
func parseBody(body string, version int) (m Mark, ok bool) {
	keys := []string{"job=", "cp=", "stop=", "parts=", "since=", "run=", "at="}
	if version > 1 {
		keys = append(keys, "topic=")
	}
	if version > 2 {
		keys = append(keys, "wm=")
	}
	if version > 3 {
		keys = append(keys, "writer=", "member=")
	}
	fields := strings.Split(body, " ")
	if len(fields) != 1+len(keys) {
		return m, false
	}
	values := fields[1:]
	for i, key := range keys {
		if values[i], ok = strings.CutPrefix(values[i], key); !ok {
			return m, false
		}
	}
	var partitions, since, run, at int64
	var errs [11]error
	m.Job, errs[0] = url.QueryUnescape(values[0])
	m.Checkpoint, errs[1] = strconv.ParseInt(values[1], 10, 64)
	m.Stop, errs[2] = strconv.ParseInt(values[2], 10, 64)
	partitions, errs[3] = strconv.ParseInt(values[3], 10, 32)
	since, errs[4] = strconv.ParseInt(values[4], 10, 64)
	run, errs[5] = strconv.ParseInt(values[5], 10, 64)
	at, errs[6] = strconv.ParseInt(values[6], 10, 64)
	if version > 1 {
		var id []byte
		if id, errs[7] = hex.DecodeString(values[7]); len(id) != len(m.Topic) {
			return m, false
		}
		copy(m.Topic[:], id)
	}
	if version > 2 {
		m.Watermark, errs[8] = parseWatermark(values[8])
	}
	if version > 3 {
		m.Writer, errs[9] = url.QueryUnescape(values[9])
		m.Member, errs[10] = url.QueryUnescape(values[10])
	}
	m.Partitions = int32(partitions)
	m.Since, m.Run, m.At = instant(since), instant(run), instant(at)
	return m, errors.Join(errs[:]...) == nil
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func checksum(body string) string {
	return fmt.Sprintf("%08x", crc32.Checksum([]byte(body), castagnoli))
}
