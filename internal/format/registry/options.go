package registry

import (
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/sr"
)

// Names of subjects, as Options.SubjectName has them.
const (
	// TopicName is the topic, with -value or -key behind it.
	TopicName = "topic"
	// RecordName is the full name of the schema: of an Avro type, of a Protobuf message, or
	// the title of a JSON schema.
	RecordName = "record"
	// TopicRecordName is the topic, a dash, and the name of the schema.
	TopicRecordName = "topic_record"
)

// Latest as a version is the latest one of the subject, asked for again after Config.Refresh.
const Latest = -1

// Options say how one part of the records, their values or their keys, is read and written.
// Reading needs none of them.
type Options struct {
	// Subject whose versions are meant, and under which Schema is registered. Empty for one
	// by SubjectName: of the topic by default.
	Subject     string
	SubjectName string

	// Writing tells that records are written, so that exactly one of the next three must be
	// set.
	Writing bool
	// Schema is the text to write with, and References is what it refers to.
	Schema     string
	References []Reference
	// SchemaID is the id of the schema to write with; 0 for none.
	SchemaID int
	// SchemaVersion is the version of the subject to write with, or Latest; 0 for none.
	SchemaVersion int
	// LookUpOnly tells that Schema must be in the registry already.
	LookUpOnly bool

	// ReaderSchema is the text of the schema that records are brought to, whatever they
	// were written with, and ReaderReferences is what it refers to; empty for none.
	ReaderSchema     string
	ReaderReferences []Reference
	// ReaderVersion is the version of the subject to take as reader schema, or Latest; 0
	// for none.
	ReaderVersion int

	// TaggedUnions is for avro: a value of a union is read as {"type": value}, as Avro's
	// own JSON has it, and not as the plain value.
	TaggedUnions bool
	// Message is for protobuf: the full name of the message to write, or to bring records
	// to; empty for the schema's first, or the one that the record was written as.
	Message string
	// ProtoNames is for protobuf: fields are read under the names of the .proto text, not
	// those of its JSON mapping. Both are understood when writing.
	ProtoNames bool
	// EmitUnpopulated is for protobuf: fields that are not set are read as their default,
	// or as null if the schema tells unset from default.
	EmitUnpopulated bool
}

// Reference is a schema that another one refers to by name: the full name of an Avro type, the
// path of a Protobuf import, or the URL in a JSON schema's $ref.
type Reference struct {
	Name, Subject string
	Version       int
}

// validate reports all faults together.
func (o *Options) validate() error {
	var errs []error
	switch o.SubjectName {
	case "", TopicName, RecordName, TopicRecordName:
	default:
		errs = append(errs, fmt.Errorf("subject_name: %q must be %s, %s or %s", o.SubjectName, TopicName, RecordName, TopicRecordName))
	}
	set := 0
	for _, is := range []bool{o.Schema != "", o.SchemaID != 0, o.SchemaVersion != 0} {
		if is {
			set++
		}
	}
	if set > 1 {
		errs = append(errs, errors.New("schema, schema_id and schema_version exclude each other; set one of them"))
	}
	if o.Writing && set == 0 {
		errs = append(errs, errNoSchema)
	}
	if o.ReaderSchema != "" && o.ReaderVersion != 0 {
		errs = append(errs, errors.New("reader_schema and reader_schema_version exclude each other; set one of them"))
	}
	if o.SchemaID < 0 {
		errs = append(errs, fmt.Errorf("schema_id: %d must be above 0", o.SchemaID))
	}
	if o.SchemaVersion < Latest {
		errs = append(errs, fmt.Errorf("schema_version: %d must be above 0, or latest", o.SchemaVersion))
	}
	if o.ReaderVersion < Latest {
		errs = append(errs, fmt.Errorf("reader_schema_version: %d must be above 0, or latest", o.ReaderVersion))
	}
	if o.Subject == "" && (o.SubjectName == RecordName || o.SubjectName == TopicRecordName) && (o.SchemaVersion != 0 || o.ReaderVersion != 0) {
		errs = append(errs, fmt.Errorf("subject_name: with %s the subject follows from the schema, so the schema cannot follow from the subject: set subject beside schema_version or reader_schema_version", o.SubjectName))
	}
	for _, r := range append(o.References, o.ReaderReferences...) {
		if r.Name == "" || r.Subject == "" || r.Version < Latest || r.Version == 0 {
			errs = append(errs, fmt.Errorf("references: %+v must have a name, a subject and a version above 0", r))
		}
	}
	return errors.Join(errs...)
}

var errNoSchema = errors.New("there is nothing that says what to write with: set `schema` to the schema's text, `schema_id` to its id, or `schema_version` to a version of the subject, such as latest")

// subject returns the one of a record's part; named is the name of the schema.
func (o *Options) subject(topic string, key bool, named string) (string, error) {
	switch {
	case o.Subject != "":
		return o.Subject, nil
	case o.SubjectName == RecordName, o.SubjectName == TopicRecordName:
		if named == "" {
			return "", fmt.Errorf("subject_name: %s needs a schema with a name, and this one has none: set subject", o.SubjectName)
		}
		if o.SubjectName == RecordName {
			return named, nil
		}
		return topic + "-" + named, nil
	case key:
		return topic + "-key", nil
	}
	return topic + "-value", nil
}

// asRegistered turns references into the registry's.
func asRegistered(refs []Reference) []sr.SchemaReference {
	var out []sr.SchemaReference
	for _, r := range refs {
		out = append(out, sr.SchemaReference{Name: r.Name, Subject: r.Subject, Version: r.Version})
	}
	return out
}
