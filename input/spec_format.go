package input

import (
	"slices"

	"github.com/redpanda-data/benthos/v4/public/service"

	"github.com/tidemarkhq/tidemark/internal/formats"
)

// The names of the fields that say what becomes of records that cannot be read.
const (
	fieldOnBad       = "on_bad_record"
	fieldDeadLetters = "dead_letter_topic"
)

// onBad is what becomes of a record that cannot be read: its bytes are not of the format, or
// the batch that it is in is damaged.
type onBad string

// The values of fieldOnBad.
const (
	onBadFail       onBad = "fail"
	onBadSkip       onBad = "skip"
	onBadFlag       onBad = "flag"
	onBadDeadLetter onBad = "dead_letter"
)

// done says what was done with records.
func (o onBad) done() string {
	switch o {
	case onBadFlag:
		return "passed on with their errors"
	case onBadDeadLetter:
		return "written to the dead letter topic"
	}
	return "skipped"
}

func formatFields() []*service.ConfigField {
	return slices.Concat(formats.Fields(), []*service.ConfigField{
		formats.IncludeMetadata(),
		service.NewStringAnnotatedEnumField(fieldOnBad, map[string]string{
			string(onBadFail):       "The stream stops at the record, with an error that names it, and begins again before it, as `checkpoint.restart` says; without checkpoints it ends.",
			string(onBadSkip):       "The record is left out, counted in `tidemark_bad_records`, and logged at a limited rate.",
			string(onBadFlag):       "A message with the bytes of the record and the error goes on, for `catch`, `switch` with `errored()`, `reject_errored` and the like.",
			string(onBadDeadLetter): "The record is written to `dead_letter_topic`, as it is and with the reason in headers.",
		}).
			Description("What becomes of a record that is not of the `format`, and of a batch that is damaged: whose checksum is wrong, or that cannot be decompressed.").
			Default(string(onBadFail)).Example(string(onBadSkip)),
		service.NewStringField(fieldDeadLetters).
			Description("The topic for `on_bad_record: dead_letter`, on the cluster that is read. Its records are flushed with checkpoints; with an output whose `delivery` is `exactly_once` they are written in the stream's transaction, and so on the cluster of that output. Headers say where the record was (`__tidemark.errors.topic`, `.partition`, `.offset`) and what is wrong (`__tidemark.errors.message`).").
			ShortDescription("The topic for on_bad_record: dead_letter.").
			Default("").Example("orders-dead"),
	})
}
