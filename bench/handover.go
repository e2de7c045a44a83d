package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"text/template"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// handoverResult is how long partitions with state stand still when they change hands.
type handoverResult struct {
	Environment environment `json:"environment"`
	// Keys is how many move each time, half of all.
	Keys int `json:"keys"`
	// Session is the group's session time-out, after which it knows of a death, in seconds.
	Session float64       `json:"session_timeout_seconds"`
	Rows    []handoverRow `json:"summary"`
	// Checked is how many of all had results that were compared in the end.
	Checked int    `json:"keys_checked"`
	Goals   []goal `json:"goals"`
	Moves   []move `json:"moves"`
}

// handoverRow sums up the moves of a kind, in seconds.
type handoverRow struct {
	Kind         string `json:"kind"`
	FromAssigned spread `json:"from_assignment_seconds"`
	FromEvent    spread `json:"from_event_seconds"`
	Waited       spread `json:"longest_wait_seconds"`
}

// Kinds of moves. Of two members, each of which has half of the partitions, one comes or goes.
const (
	joins  = "join" // a second one comes
	stops  = "stop" // one of two is told to end
	killed = "kill" // one of two is killed
)

// handoverAbout says what happens in each kind, and when the clock of FromEvent starts.
var handoverAbout = [][2]string{
	{joins, "a process starts beside the one that has everything, and gets half of it"},
	{stops, "one of two processes is told to end (SIGTERM), and the other gets its half"},
	{killed, "one of two processes is killed (SIGKILL), and the other gets its half when the session time-out is over"},
}

// handoverJob keeps a count for each key in a window that stays open. Late records pass by it,
// which shows when a partition goes on.
func handoverJob() *template.Template {
	return config(`
input:
  kafka_checkpointed:
    seed_brokers: {{printf "%q" .Seeds}}
    client_id: "{{.Member}}"
    topics: [ "{{.In}}" ]
    consumer_group: "{{.Group}}"
    start_from: earliest
    session_timeout: {{.Session}}
    heartbeat_interval: 1s
    checkpoint: { interval: 1s, store: { topic: "{{.Group}}-store" } }
  processors:
    - watermark_periodic: { timestamp: this.ts, max_out_of_orderness: 24h }
buffer:
  event_time_window:
    type: tumbling
    size: 1h
    key: this.user
    aggregate: { records: { count: {} } }
output:
  kafka_checkpointed:
    seed_brokers: {{printf "%q" .Seeds}}
    topic: "{{.Out}}"
    delivery: exactly_once
    compression: {{.Compression}}
`)
}

// handover runs the job in one or two processes and moves its partitions between them.
func (b *bench) handover(ctx context.Context, env environment, keys, repetitions int, session time.Duration) (handoverResult, error) {
	result := handoverResult{Environment: env, Keys: keys, Session: session.Seconds()}
	t, err := b.newTroupe(ctx, 2*keys, session)
	if err != nil {
		return result, err
	}
	defer t.end()
	for i := range repetitions {
		for _, kind := range []string{joins, stops, joins, killed} {
			m, err := t.move(ctx, kind)
			if err != nil {
				return result, fmt.Errorf("move %d of kind %s: %w", len(result.Moves)+1, kind, err)
			}
			m.Repetition = i + 1
			progress("%d of %d, %s: goes on %.2f s after the assignment, %.2f s after the event; a record waited for %.2f s",
				i+1, repetitions, kind, m.FromAssigned, m.FromEvent, m.Waited)
			result.Moves = append(result.Moves, m)
		}
	}
	if result.Checked, err = t.check(ctx); err != nil {
		return result, err
	}
	result.judge()
	return result, nil
}

// troupe is the processes of the job, and what they work on.
type troupe struct {
	*bench
	route
	keys int
	// begin is when the window begins that is looked at in the end; the others' is later.
	begin   time.Time
	flow    *steady
	members []*member
	hired   int
}

// member is a process that is in the group.
type member struct {
	*child
	name, http string
}

const (
	// probesPerSecond is how many records flow by.
	probesPerSecond = 100
	// checkedKeys is how many keys there are to each one whose window is looked at in the end.
	// That has nothing in common with the number of partitions.
	checkedKeys = 101
	// handoverDisorder is how far behind the latest event time the watermark is.
	handoverDisorder = 24 * time.Hour
)

// newTroupe fills a topic, has a first process read it, and lets records flow past the windows.
func (b *bench) newTroupe(ctx context.Context, keys int, session time.Duration) (*troupe, error) {
	t := &troupe{bench: b, keys: keys, begin: time.Now().Truncate(time.Hour).Add(-48 * time.Hour)}
	const topic = "bench-handover"
	if err := b.createTopic(ctx, topic); err != nil {
		return nil, err
	}
	var err error
	if t.route, err = b.newRoute(ctx, topic); err != nil {
		return nil, err
	}
	t.Session = session
	progress("filling %d keys", keys)
	if err := t.fill(ctx, keys, func(n int) []byte {
		at := t.begin.Add(5 * time.Hour)
		if n%checkedKeys == 0 {
			at = t.begin
		}
		return fmt.Appendf(nil, `{"user":"user-%09d","ts":%d}`, n, at.UnixMilli())
	}); err != nil {
		return nil, err
	}
	if err := t.prepare(ctx); err != nil {
		t.end()
		return nil, err
	}
	return t, nil
}

func (t *troupe) prepare(ctx context.Context) error {
	first, err := t.hire()
	if err != nil {
		return err
	}
	if err := t.until(ctx, "the first process has not read everything", func() (bool, error) {
		n, _ := metric(first.http, "tidemark_records_in") // it may not listen yet
		return int(n) >= t.keys, nil
	}); err != nil {
		return err
	}
	late := t.begin.Add(-2 * handoverDisorder).UnixMilli()
	// The windows learn a little later than they get the records how far event time is.
	if err := t.until(ctx, "records did not become late", func() (bool, error) {
		n, _ := metricOf(first.http, "tidemark_late_records", `path="root.buffer"`) // there is none at first
		if n >= 100 {
			return true, nil
		}
		return false, t.fill(ctx, partitions, func(int) []byte { return fmt.Appendf(nil, `{"user":"early","ts":%d}`, late) })
	}); err != nil {
		return err
	}
	t.flow, err = t.startSteady(ctx, t.In, t.Out, probesPerSecond, func(n int) []byte {
		return fmt.Appendf(nil, `{"user":"probe","ts":%d,"n":%d}`, late, n)
	})
	if err != nil {
		return err
	}
	return t.settle(ctx)
}

// fill writes a number of records, to one partition after the other.
func (t *troupe) fill(ctx context.Context, records int, value func(n int) []byte) error {
	cl, err := kgo.NewClient(append(t.kafka.ClientOptions(), kgo.DefaultProduceTopic(t.In), kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.MaxBufferedRecords(50_000))...)
	if err != nil {
		return fmt.Errorf("making a producer: %w", err)
	}
	defer cl.Close()
	failed := make(chan error, 1)
	for n := range records {
		cl.Produce(ctx, &kgo.Record{Value: value(n), Partition: int32(n % partitions)}, func(_ *kgo.Record, err error) {
			if err != nil {
				select {
				case failed <- err:
				default:
				}
			}
		})
	}
	err = cl.Flush(ctx)
	select {
	case other := <-failed:
		err = errors.Join(err, other)
	default:
	}
	if err != nil {
		return fmt.Errorf("filling topic %s: %w", t.In, err)
	}
	return nil
}

func (t *troupe) hire() (*member, error) {
	t.hired++
	r := t.route
	r.Member = fmt.Sprintf("member-%d", t.hired)
	var err error
	if r.HTTP, err = freeAddress(); err != nil {
		return nil, err
	}
	c, err := t.start(system{name: r.Member, program: tidemark, config: handoverJob()}, r)
	if err != nil {
		return nil, err
	}
	m := &member{child: c, name: r.Member, http: r.HTTP}
	t.members = append(t.members, m)
	return m, nil
}

// dismiss takes a member off the list before it ends.
func (t *troupe) dismiss(m *member) {
	t.members = slices.DeleteFunc(t.members, func(other *member) bool { return other == m })
}

func (t *troupe) end() {
	if t.flow != nil {
		t.flow.close()
	}
	for _, m := range t.members {
		m.kill()
	}
}

func (t *troupe) children() []*child {
	var all []*child
	for _, m := range t.members {
		all = append(all, m.child)
	}
	return all
}

// settle waits until everything that was fed so far has come out.
func (t *troupe) settle(ctx context.Context) error {
	if err := t.flow.await(ctx, 0, t.flow.count()+1, t.children()...); err != nil {
		return fmt.Errorf("waiting for the flow of records: %w", err)
	}
	return nil
}

// until waits until something is so, as long as all members are alive.
func (t *troupe) until(ctx context.Context, not string, is func() (bool, error)) error {
	for begun := time.Now(); ; {
		ok, err := is()
		for _, m := range t.members {
			err = errors.Join(err, m.ended())
		}
		if ok || err != nil {
			return err
		}
		if time.Since(begun) > 5*t.stall {
			return errors.New(not + " in time")
		}
		if err := pause(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
}

// assigned returns what each member has by name, as the group's coordinator says, nothing
// while the group is rebalancing.
func (t *troupe) assigned(ctx context.Context) (map[string][]int32, error) {
	groups, err := t.admin.DescribeGroups(ctx, t.Group)
	if err == nil {
		err = groups.Error()
	}
	if err != nil {
		return nil, fmt.Errorf("describing group %s: %w", t.Group, err)
	}
	all := map[string][]int32{}
	for _, m := range groups[t.Group].Members {
		if a, ok := m.Assigned.AsConsumer(); ok && groups[t.Group].State == "Stable" {
			for _, topic := range a.Topics {
				all[m.ClientID] = append(all[m.ClientID], topic.Partitions...)
			}
		}
	}
	return all, nil
}

// recordsIn returns how many records of each partition a member has read.
func (m *member) recordsIn() (counts [partitions]float64) {
	text, err := metricsPage(m.http)
	if err != nil {
		return counts // it does not listen yet
	}
	for p := range counts {
		counts[p], _ = parseMetric(text, "tidemark_records_in", "partition="+strconv.Quote(strconv.Itoa(p)))
	}
	return counts
}

// check ends a part of the windows and compares what was in them: each key has one record.
func (t *troupe) check(ctx context.Context) (keys int, err error) {
	if err := t.flow.finish(ctx, t.children()...); err != nil {
		return 0, err
	}
	progress("checking the result of one in %d keys", checkedKeys)
	err = t.fill(ctx, partitions, func(int) []byte {
		return fmt.Appendf(nil, `{"user":"end","ts":%d}`, t.begin.Add(handoverDisorder+2*time.Hour).UnixMilli())
	})
	if err != nil {
		return 0, err
	}
	return t.readResults(ctx)
}

func (r *handoverResult) judge() {
	of := func(kind string, field func(move) float64) spread {
		var values []float64
		for _, m := range r.Moves {
			if m.Kind == kind {
				values = append(values, field(m))
			}
		}
		return spreadOf(values)
	}
	for _, about := range handoverAbout {
		row := handoverRow{
			Kind: about[0], FromAssigned: of(about[0], func(m move) float64 { return m.FromAssigned }),
			FromEvent: of(about[0], func(m move) float64 { return m.FromEvent }), Waited: of(about[0], func(m move) float64 { return m.Waited }),
		}
		r.Rows = append(r.Rows, row)
		if row.Kind == killed {
			r.Goals = append(r.Goals, atMost("seconds from the kill until the other goes on, at most", row.FromEvent.Max, r.Session+takeoverLimit))
		} else {
			r.Goals = append(r.Goals, atMost("seconds from the assignment until partitions go on, at most, "+row.Kind, row.FromAssigned.Max, takeoverLimit))
		}
	}
}

// takeoverLimit is how many seconds a takeover may take.
const takeoverLimit = 10

func (r handoverResult) markdown() string {
	var s strings.Builder
	fmt.Fprintf(&s, "# State that changes hands\n\n%s\n", r.Environment.markdown())
	fmt.Fprintf(&s, "Windows (a count per key) of %s keys in %d partitions, exactly once, in a store's topic, a checkpoint each second, by processes in\n"+
		"one group with a session time-out of %g s; %s keys change hands each time.\n\n",
		grouped(fmt.Sprint(2*r.Keys)), partitions, r.Session, grouped(fmt.Sprint(r.Keys)))
	for _, about := range handoverAbout {
		fmt.Fprintf(&s, "- %s: %s\n", about[0], about[1])
	}
	s.WriteString("\nSeconds until the last of the partitions that moved is read again, from the group's assignment and from the start or end of the\n" +
		"process, and the longest that a record of them took from being produced until a reader had it; minimum / **median** / maximum.\n\n")
	var rows [][]string
	var busy []float64
	for _, w := range r.Rows {
		rows = append(rows, []string{w.Kind, w.FromAssigned.format(2), w.FromEvent.format(2), w.Waited.format(2)})
	}
	for _, m := range r.Moves {
		busy = append(busy, m.Busy)
	}
	s.WriteString(table([]string{"", "from the assignment", "from the event", "longest wait"}, rows))
	fmt.Fprintf(&s, "\nAfterwards the windows of %s keys ended: each result was right, and there once. No record was lost or came twice.\n", grouped(fmt.Sprint(r.Checked)))
	fmt.Fprintf(&s, "Load average of the machine before the moves: %s.\n", spreadOf(busy).format(1))
	s.WriteString("\n" + goalTable(r.Goals))
	return s.String()
}
