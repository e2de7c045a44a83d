package format_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	public "github.com/tidemarkhq/tidemark/format"
	"github.com/tidemarkhq/tidemark/internal/format"
)

func TestER03_ContradictoryFormats(t *testing.T) {
	require.NoError(t, public.Register("check.own", func(public.Settings) (public.Format, error) { return &own{}, nil }))
	one := []string{"id"}
	for _, c := range []struct {
		s    format.Selection
		want []string
	}{
		{format.Selection{}, nil},
		{format.Selection{Format: "raw", KeyFormat: "string"}, nil},
		{format.Selection{Format: "json", KeyFormat: "json", KeyFields: one}, nil},
		{format.Selection{Format: "csv", KeyFormat: "json", KeyFields: one, ValueIncludesKey: true, CSV: csvOf("id")}, nil},
		{format.Selection{Format: "avro", KeyFormat: "check.own", KeyFields: []string{"k_a", "k_b"}, KeyPrefix: "k_"}, nil},
		{format.Selection{Format: "envelope", KeyFormat: "envelope"}, nil},
		{format.Selection{Format: "json_key_value", KeyFormat: "raw"}, nil},
		{format.Selection{Format: "json_key_value", IncludeMetadata: true}, nil},
		{format.Selection{IncludeMetadata: true}, []string{
			"include_metadata: it is true, but format is raw: only the documents of json_key_value have metadata"}},
		{format.Selection{Format: "json", CSV: csvOf("a")}, []string{
			"csv.columns: it is set, but neither format nor key_format is csv: set one of them, or remove csv"}},
		{format.Selection{Format: "jsn", KeyFormat: "acme.keys"}, []string{
			`format: there is no format "jsn": use one of raw, string, csv, json, json_key_value, envelope, avro, protobuf, json_schema, check.own`,
			`key_format: there is no format "acme.keys": use one of raw, string, csv, json, json_key_value, envelope, avro, protobuf, json_schema, check.own`,
		}},
		{format.Selection{Format: "json", KeyFormat: "json"}, []string{
			"key_fields: it is empty, but key_format is json: name the fields of the document that the key holds"}},
		{format.Selection{KeyFormat: "csv", CSV: csvOf()}, []string{
			"key_fields: it is empty, but key_format is csv: name the fields of the document that the key holds"}},
		{format.Selection{KeyFormat: "json", KeyFields: one}, []string{
			"key_fields: format raw has no fields that a key could hold: remove key_fields, or use a format such as json"}},
		{format.Selection{Format: "envelope", KeyFormat: "json", KeyFields: one}, []string{
			"key_fields: format envelope has no fields that a key could hold: remove key_fields, or use a format such as json"}},
		{format.Selection{Format: "json", KeyFields: one}, []string{
			"key_format: it is raw, which holds no fields, but key_fields is [id]: use a format such as json, or remove key_fields"}},
		{format.Selection{Format: "json_key_value", KeyFormat: "string"}, []string{
			"key_format: it is string, but format json_key_value has the key in its document: remove key_format"}},
		{format.Selection{Format: "json_key_value", KeyFields: one}, []string{
			"key_fields: format json_key_value has no fields that a key could hold: remove key_fields, or use a format such as json"}},
		{format.Selection{Format: "json", KeyFormat: "json_key_value"}, []string{
			"key_format: json_key_value is the format of a whole record: use it as format, without a key_format"}},
		{format.Selection{KeyPrefix: "k_"}, []string{
			`key_prefix: it is "k_", but there are no key_fields: name them, or remove key_prefix`}},
		{format.Selection{Format: "json", KeyFormat: "json", KeyFields: []string{"id", "k_", "k_a", "k_a", ""}, KeyPrefix: "k_", ValueIncludesKey: true}, []string{
			`value_includes_key: it is true, but key_prefix is "k_": set it to false, or remove key_prefix`,
			`key_fields: "id" does not begin with key_prefix, "k_": all of them have to`,
			`key_fields: "k_" is key_prefix itself, which leaves no name in the key`,
			`key_fields: "k_a" is there twice`,
			`key_fields: the name of field 5 is empty`,
		}},
	} {
		var got []string
		faults := format.Check(c.s)
		for _, f := range faults {
			got = append(got, f.String())
		}
		assert.Equal(t, c.want, got, "%+v", c.s)
		if c.want == nil {
			assert.NoError(t, format.Err(faults))
		} else {
			assert.ErrorContains(t, format.Err(faults), c.want[len(c.want)-1])
		}
	}
}

func TestER03_ConstructorsCheckToo(t *testing.T) {
	for _, c := range []format.Config{
		{Key: format.NewJSON()},
		{Key: format.NewJSON(), KeyFields: []string{"id"}},
		{Value: format.NewString(), Key: format.NewJSON(), KeyFields: []string{"id"}},
		{Value: format.NewJSON(), Key: format.NewString(), KeyFields: []string{"id"}},
		{Value: &own{}, Key: &own{}, KeyPrefix: "k_"},
	} {
		_, err := format.NewReader(c)
		assert.Error(t, err)
		_, err = format.NewWriter(c)
		assert.Error(t, err)
	}
}
