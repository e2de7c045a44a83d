package mapping

import (
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/tidwall/gjson"
)

// path is a mapping that only looks something up.
type path struct {
	// names lead through objects to the value; or metadata is its name.
	names    []string
	metadata string
	// times and by are what a number is multiplied or divided by; 0 = neither.
	times, by int64
}

var plainPath = regexp.MustCompile(`^\s*(?:root\s*=\s*)?(?:this((?:\.[A-Za-z_][A-Za-z0-9_]*)+)|@([A-Za-z_][A-Za-z0-9_]*))(?:\s*([*/])\s*([1-9][0-9]{0,8}))?\s*$`)

// parsePath returns the path that a mapping is; nil if it is something else.
func parsePath(text string) *path {
	m := plainPath.FindStringSubmatch(text)
	if m == nil {
		return nil
	}
	p := &path{metadata: m[2]}
	if m[1] != "" {
		p.names = strings.Split(m[1][1:], ".")
	}
	n, _ := strconv.ParseInt(m[4], 10, 64)
	switch m[3] {
	case "*":
		p.times = n
	case "/":
		p.by = n
	}
	return p
}

// of returns the value for a message; false if only the mapping can tell.
func (p *path) of(q *Query, m *Mapping, i int) (v any, ok bool) {
	if p.metadata != "" {
		if v, ok = q.batch[i].MetaGetMut(p.metadata); !ok {
			return nil, p.times == 0 && p.by == 0
		}
		v, ok = metadata(v)
	} else if json, sure := p.search(q, m, i); sure {
		v, ok = scalar(json)
	}
	if !ok {
		return nil, false
	}
	return p.convert(v)
}

// metadata passes what a mapping would pass as it is.
func metadata(v any) (any, bool) {
	switch v := v.(type) {
	case int:
		return int64(v), true
	case string:
		return v, v != "null"
	case int64, float64, bool, nil:
		return v, true
	}
	return nil, false
}

// search looks a value up in a document; nil if it is missing, which a mapping takes for
// null.
func (p *path) search(q *Query, m *Mapping, i int) (json []byte, sure bool) {
	json, sure = q.first(m, i)
	for _, name := range p.names[1:] {
		if !sure || json == nil {
			break
		}
		var found [1][]byte
		sure = members(json, []string{name}, found[:])
		json = found[0]
	}
	return json, sure
}

// wholeNumber returns the number that a value is, if it is a whole one of 64 bits.
func wholeNumber(json []byte) (n int64, ok bool) {
	i, negative := 0, json[0] == '-'
	if negative {
		i = 1
	}
	if len(json) > 18 || i == len(json) {
		return 0, false // Perhaps it does not fit.
	}
	for ; i < len(json); i++ {
		c := json[i] - '0'
		if c > 9 {
			return 0, false
		}
		n = n*10 + int64(c)
	}
	if negative {
		n = -n
	}
	return n, true
}

// appendPlain appends text that is the same with and without quotes.
func appendPlain(b, json []byte) ([]byte, bool) {
	text := json[1 : len(json)-1]
	for _, c := range text {
		if c == '\\' || c >= utf8.RuneSelf {
			return b, false
		}
	}
	if string(text) == "null" {
		return b, false // The mapping tells it from null, if it can.
	}
	return append(b, text...), true
}

var surrogate = regexp.MustCompile(`\\u[dD][89a-fA-F]`)

// scalar returns the value that a valid document is, if it is a scalar; nil if there is
// none.
func scalar(json []byte) (any, bool) {
	if json == nil {
		return nil, true
	}
	if n, ok := wholeNumber(json); ok {
		return n, true
	}
	switch r := gjson.ParseBytes(json); r.Type {
	case gjson.Null:
		return nil, true
	case gjson.True, gjson.False:
		return r.Type == gjson.True, true
	case gjson.String:
		// The parser replaces what is no UTF-8, half a surrogate pair in its own way, and text
		// is told from null by the mapping.
		return r.Str, utf8.ValidString(r.Str) && r.Str != "null" && (len(r.Str) == len(json)-2 || !surrogate.Match(json))
	case gjson.Number:
		if i, err := strconv.ParseInt(r.Raw, 10, 64); err == nil {
			return i, true
		}
		f, err := strconv.ParseFloat(r.Raw, 64)
		return f, err == nil && !whole(r.Raw) // The mapping knows what to do with a large one.
	}
	return nil, false
}

// exact is the highest number of which all below are whole as floating-point numbers too.
const exact = 1 << 53

func (p *path) convert(v any) (any, bool) {
	if p.times == 0 && p.by == 0 {
		return v, true
	}
	switch n := v.(type) {
	case int64:
		if p.by != 0 {
			return float64(n) / float64(p.by), true
		}
		return n * p.times, n > -exact/p.times && n < exact/p.times
	case float64:
		if p.by != 0 {
			return n / float64(p.by), true
		}
		return n * float64(p.times), true
	}
	return nil, false
}
