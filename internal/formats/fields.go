package formats

import (
	"github.com/redpanda-data/benthos/v4/public/service"

	"github.com/tidemarkhq/tidemark/internal/format"
)

// The names of the fields.
const (
	FieldFormat           = "format"
	FieldKeyFormat        = "key_format"
	FieldKeyFields        = "key_fields"
	FieldKeyPrefix        = "key_prefix"
	FieldValueIncludesKey = "value_includes_key"
	FieldIncludeMetadata  = "include_metadata"
	FieldOptions          = "format_options"
	FieldKeyOptions       = "key_format_options"
	FieldRegistry         = "schema_registry"
	FieldCSV              = "csv"

	fieldColumns      = "columns"
	fieldColumnName   = "name"
	fieldColumnType   = "type"
	fieldDelimiter    = "delimiter"
	fieldQuote        = "quote"
	fieldNullLiteral  = "null_literal"
	fieldAllowMissing = "allow_missing"
	fieldAllowExtra   = "allow_extra"
)

// Fields returns the fields that input and output share.
func Fields() []*service.ConfigField {
	return []*service.ConfigField{
		service.NewStringField(FieldFormat).
			Description("The format of values. `raw`: bytes as they are; `string`: UTF-8 text, which is checked; `json`: one JSON document, numbers exact; `csv`: one line; `json_key_value`: JSON in key and value, as one document of both; `envelope`: a whole message with its metadata, between streams of this kind; `avro`, `protobuf`, `json_schema`: by a schema of a `schema_registry`; or one that this build has registered.").
			ShortDescription("The format of values: raw, string, json, csv, json_key_value, envelope, avro, protobuf or json_schema.").
			Default("raw").Example("json").Example("avro"),
		service.NewStringField(FieldKeyFormat).
			Description("The format of keys, any of those of `format` but `json_key_value`. Unset: keys are bytes. `json` and `csv` need `key_fields`; with others and without `key_fields` the metadata `kafka_key` is what the key holds.").
			Example("json").Optional(),
		service.NewStringListField(FieldKeyFields).
			Description("The fields of the document, at its top level, that the key holds, in this order.").
			Default([]any{}).Example([]string{"customer", "region"}),
		service.NewStringField(FieldKeyPrefix).
			Description("What the names of `key_fields` begin with in the document and not in the key, for fields of key and value that have the same name. Needs `value_includes_key: false`.").
			Default("").Example("key_"),
		service.NewBoolField(FieldValueIncludesKey).
			Description("Whether the value holds the `key_fields` as well as the key. A field that is in both comes from the value.").
			Default(true).Example(false),
		service.NewObjectField(FieldCSV,
			service.NewObjectListField(fieldColumns,
				service.NewStringField(fieldColumnName).
					Description("The name of the field in the document.").Example("customer"),
				service.NewStringEnumField(fieldColumnType, format.CSVTypes()...).
					Description("What its text means. `number` is exact whatever its size, `json` any value in JSON.").
					Default("string").Example("int"),
			).
				Description("The fields of the document in the order of the line. Columns that are `key_fields` say what types these have.").
				Default([]any{}).Example([]any{map[string]any{"name": "customer"}, map[string]any{"name": "amount", "type": "number"}}),
			service.NewStringField(fieldDelimiter).
				Description("The character between two fields.").Default(format.DefaultDelimiter).Example(";"),
			service.NewStringField(fieldQuote).
				Description("The character around fields that hold what would end them. Empty = none, and such a field cannot be written.").
				Default(format.DefaultQuote).Example("'"),
			service.NewStringField(fieldNullLiteral).
				Description("What stands for null where it is not quoted. Empty = nothing between the delimiters; an empty text is quoted then.").
				Default("").Example(`\N`),
			service.NewBoolField(fieldAllowMissing).
				Description("Whether fields that a line ends before are null; else the record is bad.").
				Default(false).Example(true),
			service.NewBoolField(fieldAllowExtra).
				Description("Whether what a line or a document has beyond the columns is left out; else the record is bad.").
				Default(false).Example(true),
		).Description("How lines of the format `csv` look.").Advanced(),
		registryField(),
		service.NewAnyMapField(FieldOptions).
			Description("Options of a `format` that this build has registered.").
			Optional().Advanced().Example(map[string]any{"strict": true}),
		service.NewAnyMapField(FieldKeyOptions).
			Description("Options of a `key_format` that this build has registered.").
			Optional().Advanced().Example(map[string]any{"strict": true}),
	}
}

// IncludeMetadata is the field that only the input has.
func IncludeMetadata() *service.ConfigField {
	return service.NewBoolField(FieldIncludeMetadata).
		Description("Whether documents of the format `json_key_value` have a field `metadata` with `topic`, `partition`, `offset` and `timestamp`.").
		Default(false).Example(true)
}

// LintRules are Bloblang expressions for the array that a component's lint rule yields; each
// is a message or null. They find what Check finds when the component is built.
const LintRules = `
  if this.key_prefix.or("") != "" && this.key_fields.or([]).length() == 0 {
    "key_prefix is %v, but there are no key_fields: name them, or remove key_prefix".format(this.key_prefix)
  },
  if this.key_prefix.or("") != "" && this.value_includes_key.or(true) {
    "value_includes_key is true, but key_prefix is %v: set it to false, or remove key_prefix".format(this.key_prefix)
  },
  if this.key_fields.or([]).any(f -> !f.string().has_prefix(this.key_prefix.or(""))) {
    "key_fields has a name that does not begin with key_prefix, %v: all of them have to".format(this.key_prefix.or(""))
  },
  if this.key_fields.or([]).length() > 0 && ["raw", "string", "json_key_value", "envelope"].contains(this.format.or("raw")) {
    "key_fields is set, but format %v has no fields that a key could hold: remove key_fields, or use a format such as json".format(this.format.or("raw"))
  },
  if this.key_fields.or([]).length() > 0 && ["raw", "string", "json_key_value", "envelope"].contains(this.key_format.or("raw")) {
    "key_fields is set, but key_format is %v, which holds no fields: use a format such as json, or remove key_fields".format(this.key_format.or("raw"))
  },
  if this.key_fields.or([]).length() == 0 && ["json", "csv"].contains(this.key_format.or("raw")) {
    "key_fields is empty, but key_format is %v: name the fields of the document that the key holds".format(this.key_format)
  },
  if this.key_format.or("raw") == "json_key_value" {
    "key_format is json_key_value, which is the format of a whole record: use it as format, without a key_format"
  },
  if this.format.or("raw") == "json_key_value" && this.key_format.or("raw") != "raw" {
    "key_format is %v, but format json_key_value has the key in its document: remove key_format".format(this.key_format)
  },
  if this.include_metadata.or(false) && this.format.or("raw") != "json_key_value" {
    "include_metadata is true, but format is %v: set it to json_key_value, or remove include_metadata".format(this.format.or("raw"))
  },
  if [this.format.or("raw"), this.key_format.or("raw")].any(f -> ["avro", "protobuf", "json_schema"].contains(f)) && this.schema_registry.url.or([]).length() == 0 {
    "schema_registry.url is empty, but a format is by schemas of a registry: set it, for example to http://localhost:8081"
  },
  if ![this.format.or("raw"), this.key_format.or("raw")].any(f -> ["avro", "protobuf", "json_schema"].contains(f)) && this.schema_registry.url.or([]).length() > 0 {
    "schema_registry is set, but neither format nor key_format is by schemas: use avro, protobuf or json_schema, or remove it"
  },
  if this.schema_registry.inherit_sasl.or(false) == true && (this.schema_registry.basic_auth.username.or("") != "" || this.schema_registry.bearer_token.or("") != "") {
    "inherit_sasl is true, and basic_auth or bearer_token is set: use one of them"
  },
`
