package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemarkhq/tidemark/internal/format"
)

// The documents of the formats' pipelines, and what most of them do with each: add one to v.
const (
	documentMapping = `
pipeline:
  processors:
    - mapping: |
        root = this
        root.v = this.v + 1
`
	csvColumns = "    csv: { columns: [ { name: n, type: int }, { name: v, type: int }, { name: user }, { name: note }, { name: tags, type: json }, { name: price, type: number } ] }\n"
	// nameLazy is the pipeline that says nothing of formats: Benthos parses when the mapping asks.
	nameLazy = "document, no format"
	nameJSON = "document, json"
)

// formatSystems are a raw loop, pipelines that pass bytes, and pipelines that use documents.
func formatSystems() []system {
	piped := func(name, about, input, pipeline, output string) system {
		both := strings.Split(tidemarkText(noMetadata+input, output), "\noutput:")
		return system{name, tidemark, about, config(both[0] + pipeline + "\noutput:" + both[1])}
	}
	const json, kv, envelope = "    format: json\n", "    format: json_key_value\n", "    format: envelope\n"
	return []system{
		{nameRaw, rawLoop, "a poll-and-produce loop of the Kafka client, at its defaults", nil},
		piped("bytes, no format", "a copy", "", "", ""),
		piped("bytes, string", "a copy that checks for UTF-8", "    format: string\n", "", "    format: string\n"),
		piped("bytes, json", "a copy that checks for JSON", json, "", json),
		piped(nameLazy, "a mapping adds one to a field; Benthos parses when it is asked to", "", documentMapping, ""),
		piped(nameJSON, "the same, and records that are no JSON are bad ones", json, documentMapping, json),
		piped("document, json_key_value", "the same, with the key in the document", kv, strings.ReplaceAll(documentMapping, ".v", ".value.v"), kv),
		piped("document, json to csv", "the same, written as CSV", json, documentMapping, "    format: csv\n"+csvColumns),
		piped("document, json to envelope", "the same, written as envelopes", json, documentMapping, envelope),
	}
}

// fillDocuments creates and fills a topic of JSON documents of about 150 bytes; the field n is
// their number, v twice as much.
func (b *bench) fillDocuments(ctx context.Context, topic string, records int) error {
	if err := b.createTopic(ctx, topic); err != nil {
		return err
	}
	cl, err := kgo.NewClient(append(b.kafka.ClientOptions(), kgo.DefaultProduceTopic(topic),
		kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerBatchCompression(kgo.NoCompression()),
		kgo.MaxBufferedRecords(50_000))...)
	if err != nil {
		return fmt.Errorf("making a producer: %w", err)
	}
	defer cl.Close()
	rng := rand.New(rand.NewPCG(5, 6))
	failed := make(chan error, 1)
	for i := range records {
		user := rng.IntN(windowUsers)
		r := &kgo.Record{
			Key:       fmt.Appendf(nil, `"user-%04d"`, user),
			Value:     fmt.Appendf(nil, `{"n":%d,"v":%d,"user":"user-%04d","note":"paid by card, delivered to the door","tags":["new","gift"],"price":%d.%02d}`, i, 2*i, user, rng.IntN(1000), rng.IntN(100)),
			Partition: int32(user % partitions),
		}
		cl.Produce(ctx, r, func(_ *kgo.Record, err error) {
			if err != nil {
				select {
				case failed <- err:
				default:
				}
			}
		})
	}
	if err := cl.Flush(ctx); err != nil {
		return fmt.Errorf("filling topic %s: %w", topic, err)
	}
	select {
	case err := <-failed:
		return fmt.Errorf("filling topic %s: %w", topic, err)
	default:
		return nil
	}
}

// formatOnce runs a pipeline and returns what it took.
func (b *bench) formatOnce(ctx context.Context, s system, topic string, records int) (run, error) {
	r, err := b.newRoute(ctx, topic)
	if err != nil {
		return run{}, err
	}
	result := run{System: s.name, Load: load{Records: records, ValueBytes: 125}, Busy: loadAverage()}
	c, err := b.start(s, r)
	if err != nil {
		return result, err
	}
	seen, err := b.await(ctx, c, r.Out, records)
	if err == nil {
		err = c.stop()
	}
	if err != nil {
		c.kill()
		return result, fmt.Errorf("running %s: %w", s.name, err)
	}
	exact, err := b.checkDocuments(ctx, s.name, r.Out, records)
	if err != nil {
		return result, fmt.Errorf("checking the output of %s: %w", s.name, err)
	}
	if !exact.first.IsZero() {
		seen = exact
	}
	result.Seconds = seen.seconds()
	result.Rate = float64(records) / result.Seconds
	result.CPUSeconds = c.cpu().Seconds()
	result.CPUMicros = result.CPUSeconds * 1e6 / float64(records)
	result.PeakMiB = float64(c.peak) / (1 << 20)
	return result, b.forget(ctx, r)
}

// checkDocuments makes sure that each document has come through once, with the right v.
func (b *bench) checkDocuments(ctx context.Context, name, topic string, records int) (sp span, err error) {
	seen := make([]bool, records)
	more := 0
	if strings.HasPrefix(name, "document") {
		more = 1
	}
	err = b.readAll(ctx, topic, func(r *kgo.Record) error {
		if r.Attrs.TimestampType() == appendTime {
			sp.add(r.Timestamp)
		}
		n, v, err := numbers(name, r.Value)
		switch {
		case err != nil:
			return fmt.Errorf("reading the record %q: %w", r.Value, err)
		case n < 0 || n >= records || seen[n]:
			return fmt.Errorf("the record %q is there once too often", r.Value)
		case v != 2*n+more:
			return fmt.Errorf("the record %q is wrong", r.Value)
		}
		seen[n] = true
		return nil
	})
	if err != nil {
		return sp, err
	}
	for n, is := range seen {
		if !is {
			return sp, fmt.Errorf("document %d is missing", n)
		}
	}
	return sp, nil
}

// numbers finds n and v in what a pipeline has written.
func numbers(name string, value []byte) (n, v int, err error) {
	switch {
	case strings.HasSuffix(name, "csv"):
		_, err = fmt.Sscanf(string(value), "%d,%d,", &n, &v)
		return n, v, err
	case strings.HasSuffix(name, "envelope"):
		return numbersOfEnvelope(value)
	}
	type document struct{ N, V int }
	var d struct {
		document
		Value *document
	}
	if err := json.Unmarshal(value, &d); err != nil {
		return 0, 0, err
	}
	if d.Value != nil {
		return d.Value.N, d.Value.V, nil
	}
	return d.N, d.V, nil
}

func numbersOfEnvelope(value []byte) (n, v int, err error) {
	reader, err := format.NewEnvelopeReader(nil)
	if err != nil {
		return 0, 0, err
	}
	m, err := reader.Read(context.Background(), &format.Record{Value: value})
	if err != nil {
		return 0, 0, err
	}
	doc, ok := m.Content.(map[string]any)
	if !ok {
		return 0, 0, errors.New("it holds no document")
	}
	_, err = fmt.Sscan(fmt.Sprint(doc["n"], " ", doc["v"]), &n, &v)
	return n, v, err
}

// formatResult is what formats cost.
type formatResult struct {
	Environment environment   `json:"environment"`
	Records     int           `json:"records"`
	Rows        []row         `json:"summary"`
	Goals       []goal        `json:"goals"`
	Runs        []run         `json:"runs"`
	Systems     []systemAbout `json:"systems"`
}

// formats runs the pipelines side by side.
func (b *bench) formats(ctx context.Context, env environment, records, repetitions int) (formatResult, error) {
	result := formatResult{Environment: env, Records: records}
	progress("filling %d records", records)
	const topic = "bench-documents"
	if err := b.fillDocuments(ctx, topic, records); err != nil {
		return result, err
	}
	systems := formatSystems()
	var names []string
	for _, s := range systems {
		names = append(names, s.name)
		result.Systems = append(result.Systems, systemAbout{s.name, s.about})
	}
	for i := range repetitions {
		for j := range systems {
			s := systems[(i+j)%len(systems)]
			r, err := b.formatOnce(ctx, s, topic, records)
			if err != nil {
				return result, err
			}
			r.Repetition = i + 1
			progress("%d of %d, %s: %.0f records/s, %.2f µs, %.0f MiB", i+1, repetitions, s.name, r.Rate, r.CPUMicros, r.PeakMiB)
			result.Runs = append(result.Runs, r)
		}
	}
	result.Rows = summarise(result.Runs, names)
	result.Goals = []goal{
		atMost("CPU of json, to Benthos's own parsing", ratioOf(result.Runs, nameJSON, nameLazy), 1.1),
	}
	return result, nil
}

// ratioOf is the median of the ratios of two systems' CPU, formed within each repetition.
func ratioOf(runs []run, name, to string) float64 {
	cpu := map[int]map[string]float64{}
	for _, r := range runs {
		if cpu[r.Repetition] == nil {
			cpu[r.Repetition] = map[string]float64{}
		}
		cpu[r.Repetition][r.System] = r.CPUMicros
	}
	var ratios []float64
	for _, side := range cpu {
		ratios = append(ratios, side[name]/side[to])
	}
	return spreadOf(ratios).Median
}

func (r formatResult) markdown() string {
	var s strings.Builder
	fmt.Fprintf(&s, "# Formats\n\n%s\n", r.Environment.markdown())
	fmt.Fprintf(&s, "%s JSON documents of six fields and about 125 bytes in %d partitions, without metadata. Each cell: minimum / **median** /\n"+
		"maximum. Every record of the output was checked.\n\n", grouped(fmt.Sprint(r.Records)), partitions)
	for _, a := range r.Systems {
		fmt.Fprintf(&s, "- %s: %s\n", a.Name, a.About)
	}
	var rows [][]string
	for _, w := range r.Rows {
		rows = append(rows, []string{
			w.System, w.Rate.format(0), w.RateToRaw.format(2), w.CPUMicros.format(2),
			fmt.Sprintf("%.2f", ratioOf(r.Runs, w.System, nameLazy)), w.PeakMiB.format(0),
		})
	}
	fmt.Fprintf(&s, "\nLoad average of the machine before the runs: %s.\n\n", busyBefore(r.Runs).format(1))
	s.WriteString(table([]string{"", "records/s", "rate : raw", "CPU µs/record", "CPU : " + nameLazy, "peak MiB"}, rows))
	s.WriteString("\n" + goalTable(r.Goals))
	return s.String()
}
