package format_test

import (
	"encoding/csv"
	"encoding/json"
	"io"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	public "github.com/tidemarkhq/tidemark/format"
	"github.com/tidemarkhq/tidemark/internal/format"
)

// csvOf describes lines by columns such as id:int.
func csvOf(columns ...string) format.CSVConfig {
	c := format.CSVConfig{Delimiter: format.DefaultDelimiter, Quote: format.DefaultQuote}
	for _, column := range columns {
		name, typ, _ := strings.Cut(column, ":")
		c.Columns = append(c.Columns, format.CSVColumn{Name: name, Type: typ})
	}
	return c
}

// cells are values of a type of column, as reading gives them.
func cells(typ string) *rapid.Generator[any] {
	values := map[string]*rapid.Generator[any]{
		"string": rapid.OneOf(rapid.Map(rapid.String(), toAny), rapid.Map(rapid.StringMatching(`[a";|\n\r\t NUL,]{0,6}`), toAny)),
		"int":    rapid.Map(rapid.Int64(), toAny),
		"float":  rapid.Map(rapid.Float64Range(-math.MaxFloat64, math.MaxFloat64), toAny),
		"bool":   rapid.Map(rapid.Bool(), toAny),
		"number": rapid.Map(numbers, toAny),
		"json":   documents(scalars(), 2),
	}
	return rapid.OneOf(rapid.Just[any](nil), values[typ])
}

func TestCSVRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := format.CSVConfig{
			Delimiter:   rapid.SampledFrom([]string{",", ";", "\t", "é", " "}).Draw(t, "delimiter"),
			Quote:       rapid.SampledFrom([]string{`"`, "'", "¦"}).Draw(t, "quote"),
			NullLiteral: rapid.SampledFrom([]string{"", "NULL", `\N`, "a"}).Draw(t, "null"),
		}
		doc := map[string]any{}
		for _, name := range rapid.SliceOfNDistinct(rapid.StringN(1, 5, -1), 1, 5, rapid.ID[string]).Draw(t, "columns") {
			typ := rapid.SampledFrom(format.CSVTypes()).Draw(t, "type")
			c.Columns = append(c.Columns, format.CSVColumn{Name: name, Type: typ})
			doc[name] = cells(typ).Draw(t, "value")
		}
		f, err := format.NewCSV(c)
		require.NoError(t, err)
		line := encodes(t, f, doc)
		require.Equal(t, doc, decodes(t, f, line), "%q", line)
		require.Equal(t, doc, decodes(t, f, line+rapid.SampledFrom([]string{"\n", "\r\n"}).Draw(t, "end")))
	})
}

// The standard library has the last word on lines that it takes and does not alter.
func TestCSVAgreesWithTheStandardLibrary(t *testing.T) {
	f, err := format.NewCSV(csvOf("a", "b", "c"))
	require.NoError(t, err)
	rapid.Check(t, func(t *rapid.T) {
		line := rapid.StringMatching(`[a",\n ]{0,12}`).Draw(t, "line")
		got, gotErr := f.Decode(t.Context(), public.Part{}, []byte(line))
		r := csv.NewReader(strings.NewReader(line))
		want, wantErr := r.Read()
		if wantErr != nil && wantErr != io.EOF {
			require.Error(t, gotErr, "%q", line)
			return
		}
		if _, more := r.Read(); more != io.EOF || len(want) != 3 || strings.HasPrefix(line, "\n") || strings.HasSuffix(line, "\n\n") {
			return // several lines, empty ones, or another number of fields
		}
		require.NoError(t, gotErr, "%q", line)
		for i, name := range []string{"a", "b", "c"} {
			text, _ := got.(map[string]any)[name].(string) // null, where the library has an empty text
			require.Equal(t, want[i], text, "%q", line)
		}
	})
	rapid.Check(t, func(t *rapid.T) {
		row := rapid.SliceOfN(rapid.StringMatching(`[a",\n\tü]{0,5}`), 3, 3).Draw(t, "row")
		line := encodes(t, f, map[string]any{"a": row[0], "b": row[1], "c": row[2]})
		got, err := csv.NewReader(strings.NewReader(line)).Read()
		require.NoError(t, err, "%q", line)
		require.Equal(t, row, got)
	})
}

func TestCSVDecode(t *testing.T) {
	typed := csvOf("s", "i:int", "f:float", "b:bool", "n:number", "j:json")
	missing, extra, null, bare := csvOf("a", "b"), csvOf("a"), csvOf("a", "b"), csvOf("a", "b")
	missing.AllowMissing, extra.AllowExtra, null.NullLiteral, bare.Quote, bare.Delimiter = true, true, "NULL", "", "|"
	for _, c := range []struct {
		conf format.CSVConfig
		line string
		want map[string]any
	}{
		{typed, "x,-7,1e3,TRUE,12345678901234567890.10,\"{\"\"k\"\":[1]}\"\r\n", map[string]any{
			"s": "x", "i": int64(-7), "f": 1000.0, "b": true, "n": json.Number("12345678901234567890.10"), "j": map[string]any{"k": []any{json.Number("1")}}}},
		{typed, ",,,,,", map[string]any{"s": nil, "i": nil, "f": nil, "b": nil, "n": nil, "j": nil}},
		{typed, `"",007,+.5,"false","-0",null`, map[string]any{
			"s": "", "i": int64(7), "f": 0.5, "b": false, "n": json.Number("-0"), "j": nil}},
		{csvOf("a", "b"), "\"1\r\n2\", x ", map[string]any{"a": "1\r\n2", "b": " x "}},
		{csvOf("a"), "", map[string]any{"a": nil}},
		{csvOf("a"), `""`, map[string]any{"a": ""}},
		{missing, "1", map[string]any{"a": "1", "b": nil}},
		{extra, "1,2,3", map[string]any{"a": "1"}},
		{null, `NULL,"NULL"`, map[string]any{"a": nil, "b": "NULL"}},
		{null, `,null`, map[string]any{"a": "", "b": "null"}},
		{bare, `"a|"b"`, map[string]any{"a": `"a`, "b": `"b"`}},
	} {
		f, err := format.NewCSV(c.conf)
		require.NoError(t, err)
		assert.Equal(t, c.want, decodes(t, f, c.line), "%q", c.line)
	}
}

func TestCSVDecodeErrors(t *testing.T) {
	f, err := format.NewCSV(csvOf("s", "i:int", "f:float"))
	require.NoError(t, err)
	for line, want := range map[string]string{
		"a,1":                            "the line has 2 fields, and there are 3 columns: csv.allow_missing would read null for the others",
		"":                               "the line has 1 field, and there are 3 columns: csv.allow_missing would read null for the others",
		"a,1,2,":                         "the line has 4 fields, and there are 3 columns: csv.allow_extra would leave the others out",
		"a,12x,3":                        `column "i": "12x" is no int`,
		"a, 1,3":                         `column "i": " 1" is no int`,
		`a,"",3`:                         `column "i": "" is no int`,
		"a,9223372036854775808,3":        `column "i": "9223372036854775808" is too large for an int: give the column the type number`,
		"a,1,NaN":                        `column "f": "NaN" is no float`,
		"a,1,0x10":                       `column "f": "0x10" is no float`,
		"a,1,1e999":                      `column "f": "1e999" is too large for a float: give the column the type number`,
		"a,1," + strings.Repeat("é", 40): `column "f": "` + strings.Repeat("é", 30) + `..." is no float`,
		`a"b,1,2`:                        "there is a quote at byte 1, inside of a field that does not begin with one",
		`"a,1,2`:                         "the quote at byte 0 is not closed",
		`x,"a""`:                         "the quote at byte 2 is not closed",
		`"a"b,1,2`:                       "there is something after the closing quote at byte 2",
		"a,1,2\nb,3,4":                   "it has more than one line, and a record is one: quote what holds line breaks",
		"\"a\"\nb,3,4":                   "it has more than one line, and a record is one: quote what holds line breaks",
		"a,1,2\r":                        "it has more than one line, and a record is one: quote what holds line breaks",
		"a\xff,1,2":                      "not UTF-8 at byte 1",
	} {
		assert.Equal(t, want, decodeError(f, line), "%q", line)
	}
	b, err := format.NewCSV(csvOf("b:bool"))
	require.NoError(t, err)
	assert.Equal(t, `column "b": "yes" is no bool`, decodeError(b, "yes"))
	n, err := format.NewCSV(csvOf("n:number"))
	require.NoError(t, err)
	for _, s := range []string{"1 ", " 1", "+1", "01", "1.", "0x1", "null", "true", `"1"x`} {
		assert.NotEmpty(t, decodeError(n, s), s)
	}
	j, err := format.NewCSV(csvOf("j:json"))
	require.NoError(t, err)
	assert.Equal(t, `column "j": no valid JSON: it ends in the middle of a document`, decodeError(j, "["))
}

func TestCSVEncode(t *testing.T) {
	at := time.Date(2024, 2, 29, 23, 59, 58, 0, time.UTC)
	extra := csvOf("a")
	extra.AllowExtra = true
	for _, c := range []struct {
		conf format.CSVConfig
		doc  any
		want string
	}{
		{csvOf("b", "a"), map[string]any{"a": "1", "b": "2"}, "2,1"},
		{csvOf("b", "a"), []byte(`{"a":1.50,"b":null}`), ",1.50"},
		{csvOf("a", "b", "c"), map[string]any{"a": "x,y", "c": "\"\n"}, "\"x,y\",,\"\"\"\n\""},
		{csvOf("a", "b", "c"), map[string]any{"a": "", "b": " x", "c": "x y"}, `""," x",x y`},
		{csvOf("a", "b", "c", "d"), map[string]any{"a": true, "b": int64(-1), "c": 0.1, "d": at}, "true,-1,0.1,2024-02-29T23:59:58Z"},
		{csvOf("i:int", "f:float", "n:number"), map[string]any{"i": 5.0, "f": 7, "n": uint64(math.MaxUint64)}, "5,7,18446744073709551615"},
		{csvOf("i:int", "f:float", "n:number"), map[string]any{"i": json.Number("5"), "f": json.Number("1.50"), "n": float32(0.1)}, "5,1.50,0.1"},
		{csvOf("j:json"), map[string]any{"j": map[string]any{"k": "<"}}, `"{""k"":""<""}"`},
		{extra, map[string]any{"a": []byte("x"), "b": 1}, "x"},
	} {
		f, err := format.NewCSV(c.conf)
		require.NoError(t, err)
		assert.Equal(t, c.want, encodes(t, f, c.doc))
	}
}

func TestCSVEncodeErrors(t *testing.T) {
	f, err := format.NewCSV(csvOf("s", "i:int", "f:float", "b:bool", "j:json"))
	require.NoError(t, err)
	for _, c := range []struct {
		doc  any
		want string
	}{
		{[]any{1}, "it is an array, and an object is needed"},
		{[]byte("a,1"), "no valid JSON: invalid character 'a' looking for beginning of value at byte 0"},
		{map[string]any{"z": 1, "y": 2}, `the document has the field "y", which is no column: csv.allow_extra would leave it out`},
		{map[string]any{"s": []any{1}}, `column "s": it is an array: give the column the type json`},
		{map[string]any{"s": "\xff"}, `column "s": not UTF-8 at byte 0`},
		{map[string]any{"s": struct{}{}}, `column "s": it is a struct {}, and a column of type number needs another value`},
		{map[string]any{"i": 1.5}, `column "i": 1.5 is no int`},
		{map[string]any{"i": 1e300}, `column "i": 1e+300 is no int`},
		{map[string]any{"i": "1"}, `column "i": it is a string, and a column of type int needs another value`},
		{map[string]any{"i": json.Number("1.0")}, `column "i": "1.0" is no int`},
		{map[string]any{"i": uint64(math.MaxUint64)}, `column "i": 18446744073709551615 is too large for an int: give the column the type number`},
		{map[string]any{"f": nan}, `column "f": it is NaN, which is no number`},
		{map[string]any{"f": json.Number("1e999")}, `column "f": "1e999" is too large for a float: give the column the type number`},
		{map[string]any{"f": json.Number("x")}, `column "f": "x" is no float`},
		{map[string]any{"b": "true"}, `column "b": it is a string, and a column of type bool needs another value`},
		{map[string]any{"j": infinite}, `column "j": the document is -Inf, which JSON has no number for`},
	} {
		assert.Equal(t, c.want, encodeError(f, c.doc))
	}
	bare := csvOf("s")
	bare.Quote = ""
	f, err = format.NewCSV(bare)
	require.NoError(t, err)
	for _, s := range []string{"a,b", "a\nb", "\r", ""} {
		assert.ErrorContains(t, errorOf(f, map[string]any{"s": s}), "the text cannot be written without quotes: set csv.quote", s)
	}
	assert.Equal(t, `"a"`, encodes(t, f, map[string]any{"s": `"a"`}))
}

func TestCheckCSV(t *testing.T) {
	bad := csvOf("a", "", "b:text", "a")
	bad.Delimiter, bad.Quote, bad.NullLiteral = ";;", "\n", "a\n"
	same := csvOf("a")
	same.Quote, same.NullLiteral = ",", "a,b"
	for _, c := range []struct {
		s    format.Selection
		want []string
	}{
		{format.Selection{Format: "csv", CSV: csvOf("a")}, nil},
		{format.Selection{Format: "csv", CSV: bad}, []string{
			`csv.delimiter: it is ";;", and must be one character, such as "," or ";" or "\t", that is no line break`,
			`csv.quote: it is "\n", and must be one character, such as "," or ";" or "\t", that is no line break`,
			`csv.null_literal: "a\n" holds "\n", which has a meaning of its own in a line: use another text`,
			`csv.columns: the name of column 2 is empty`,
			`csv.columns: "b" has the type "text": use one of string, int, float, bool, number, json`,
			`csv.columns: "a" is there twice`,
		}},
		{format.Selection{Format: "csv", CSV: same}, []string{
			`csv.quote: it is ",", which is csv.delimiter too: use another one, or none`,
			`csv.null_literal: "a,b" holds ",", which has a meaning of its own in a line: use another text`,
		}},
		{format.Selection{Format: "csv", CSV: csvOf()}, []string{
			"csv.columns: it is empty, but format is csv: name the fields of a line, in their order"}},
		{format.Selection{Format: "csv", CSV: csvOf("a"), KeyFormat: "csv", KeyFields: []string{"id"}, ValueIncludesKey: true}, []string{
			`csv.columns: it lacks "id", one of key_fields, and value_includes_key is true: add it, or set value_includes_key to false`}},
		{format.Selection{Format: "csv", CSV: csvOf("id"), KeyFormat: "json", KeyFields: []string{"id"}}, []string{
			"csv.columns: it has nothing but key_fields, which leaves none for the value: add a column, or set value_includes_key to true"}},
		{format.Selection{Format: "json", CSV: csvOf(), KeyFormat: "csv", KeyFields: []string{"id"}}, nil},
	} {
		var got []string
		for _, f := range format.Check(c.s) {
			got = append(got, f.String())
		}
		assert.Equal(t, c.want, got)
	}
	_, err := format.NewCSV(bad)
	assert.ErrorContains(t, err, "csv.delimiter")
	lines, err := format.NewCSV(csvOf())
	require.NoError(t, err)
	_, err = format.NewReader(format.Config{Value: lines})
	assert.ErrorContains(t, err, "csv.columns: it is empty")
}

func TestSD07_KeyFieldsInCSV(t *testing.T) {
	lines := csvOf("a:int", "id", "k_id:int", "region")
	f, err := format.NewCSV(lines)
	require.NoError(t, err)
	doc := map[string]any{"a": int64(1), "id": "x,y", "k_id": int64(7), "region": nil}
	for _, c := range []struct {
		name       string
		config     format.Config
		key, value string
	}{
		{"declared order", format.Config{Key: f, KeyFields: []string{"region", "id"}}, `,"x,y"`, `1,7`},
		{"in the value too", format.Config{Key: f, KeyFields: []string{"region", "id"}, ValueIncludesKey: true}, `,"x,y"`, `1,"x,y",7,`},
		{"same name, other type", format.Config{Key: f, KeyFields: []string{"k_id"}, KeyPrefix: "k_"}, `7`, `1,"x,y",`},
		{"a key of JSON", format.Config{Key: format.NewJSON(), KeyFields: []string{"region", "id"}}, `{"region":null,"id":"x,y"}`, `1,7`},
		{"one that is null", format.Config{Key: f, KeyFields: []string{"region"}}, ``, `1,"x,y",7`},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.config.Value = f
			rd, w := newPair(t, c.config)
			r := write(t, w, format.Message{Content: doc})
			assert.Equal(t, []string{c.key, c.value}, []string{string(r.Key), string(r.Value)})
			assert.NotNil(t, r.Key)
			assert.Equal(t, format.Message{Content: doc}, read(t, rd, r.Key, r.Value))
		})
	}
}

func FuzzCSV(f *testing.F) {
	codec, err := format.NewCSV(csvOf("s", "i:int", "f:float", "b:bool", "n:number", "j:json"))
	require.NoError(f, err)
	fuzzDecode(f, "csv", codec, "a,1,1.5,true,1e400,[1]", `"a""b",,,,,"{""k"":null}"`+"\r\n", ",,,,,", "\"\n\",0,-0,false,-0,null", `a"b`, "a\nb")
}

func FuzzCSVWithoutQuotes(f *testing.F) {
	c := csvOf("a", "b")
	c.Quote, c.Delimiter, c.NullLiteral, c.AllowExtra, c.AllowMissing = "", "é", "NULL", true, true
	codec, err := format.NewCSV(c)
	require.NoError(f, err)
	fuzzDecode(f, "csv", codec, "aéb", "NULLé", "\"aé\"", "a", "aébéc\n")
}
