package format

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// maxDepth is how deep documents may be nested, which is what encoding/json allows.
const maxDepth = 10000

var errTooDeep = fmt.Errorf("the document is nested more than %d deep", maxDepth)

// faultInJSON looks for what makes a document unfit for JSON: it is asked once that is known,
// to name the place. nil if there is nothing of the kind.
func faultInJSON(doc any, path []string) error {
	if len(path) > maxDepth {
		return errTooDeep
	}
	switch v := doc.(type) {
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return fmt.Errorf("%s is %v, which JSON has no number for", place(path), v)
		}
	case json.Number:
		if !json.Valid([]byte(v)) {
			return fmt.Errorf("%s is the number %q, which is none in JSON", place(path), shorten(string(v)))
		}
	case string:
		if err := checkUTF8String(v); err != nil {
			return fmt.Errorf("%s is %w", place(path), err)
		}
	case []any:
		for i, e := range v {
			if err := faultInJSON(e, append(path, strconv.Itoa(i))); err != nil {
				return err
			}
		}
	case map[string]any:
		for name, e := range v {
			if err := checkUTF8String(name); err != nil {
				return fmt.Errorf("the name of a field in %s is %w", place(path), err)
			}
			if err := faultInJSON(e, append(path, name)); err != nil {
				return err
			}
		}
	}
	return nil
}

// place names a value by its dot path.
func place(path []string) string {
	if len(path) == 0 {
		return "the document"
	}
	return fmt.Sprintf("field %q", strings.Join(path, "."))
}

// checkUTF8 says where text is not UTF-8, counting from 0.
func checkUTF8(text []byte) error {
	if utf8.Valid(text) {
		return nil
	}
	return checkUTF8String(string(text))
}

func checkUTF8String(text string) error {
	for i := 0; i < len(text); {
		r, n := utf8.DecodeRuneInString(text[i:])
		if r == utf8.RuneError && n == 1 {
			return fmt.Errorf("not UTF-8 at byte %d", i)
		}
		i += n
	}
	return nil
}

// kindOf says in words what a value of a document is.
func kindOf(v any) string {
	switch v.(type) {
	case nil:
		return "null"
	case bool:
		return "a boolean"
	case string:
		return "a string"
	case []byte:
		return "bytes"
	case json.Number, int, int32, int64, uint32, uint64, float32, float64:
		return "a number"
	case time.Time:
		return "a time"
	case []any:
		return "an array"
	case map[string]any:
		return "an object"
	}
	return fmt.Sprintf("a %T", v)
}

// shorten keeps errors short that quote a record.
func shorten(s string) string {
	const limit = 60
	if len(s) <= limit {
		return s
	}
	end := limit
	for end > 0 && !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end] + "..."
}
