package format

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// csvType is how the text of a field becomes a value, and back; neither is asked about null.
type csvType struct {
	parse  func(text string) (any, error)
	render func(v any) (string, error)
}

// CSVTypes lists the types of columns.
func CSVTypes() []string { return []string{"string", "int", "float", "bool", "number", "json"} }

var csvTypes = map[string]csvType{
	"string": {parse: func(text string) (any, error) { return text, nil }, render: renderString},
	"int":    {parse: parseInt, render: renderInt},
	"float":  {parse: parseFloat, render: renderFloat},
	"bool":   {parse: parseBool, render: renderBool},
	"number": {parse: parseNumber, render: renderNumber},
	"json":   {parse: func(text string) (any, error) { return decodeJSON([]byte(text)) }, render: renderJSON},
}

func noSuch(text, kind string) error { return fmt.Errorf("%q is no %s", shorten(text), kind) }

func parseInt(text string) (any, error) {
	v, err := strconv.ParseInt(text, 10, 64)
	if errors.Is(err, strconv.ErrRange) {
		return nil, fmt.Errorf("%q is too large for an int: give the column the type number", shorten(text))
	}
	if err != nil {
		return nil, noSuch(text, "int")
	}
	return v, nil
}

func parseFloat(text string) (any, error) {
	// The parser knows forms that are Go's own, and numbers that no JSON can hold.
	if strings.Trim(text, "0123456789+-.eE") != "" {
		return nil, noSuch(text, "float")
	}
	v, err := strconv.ParseFloat(text, 64)
	if errors.Is(err, strconv.ErrRange) {
		return nil, fmt.Errorf("%q is too large for a float: give the column the type number", shorten(text))
	}
	if err != nil {
		return nil, noSuch(text, "float")
	}
	return v, nil
}

func parseBool(text string) (any, error) {
	switch {
	case strings.EqualFold(text, "true"):
		return true, nil
	case strings.EqualFold(text, "false"):
		return false, nil
	}
	return nil, noSuch(text, "bool")
}

func parseNumber(text string) (any, error) {
	if !isNumber(text) {
		return nil, noSuch(text, "number")
	}
	return json.Number(text), nil
}

// isNumber tells whether text is a number as JSON writes them.
func isNumber(text string) bool {
	if text == "" || text[0] != '-' && (text[0] < '0' || text[0] > '9') {
		return false
	}
	last := text[len(text)-1] // no blank after it
	return last >= '0' && last <= '9' && json.Valid([]byte(text))
}

func renderString(v any) (string, error) {
	switch v := v.(type) {
	case string:
		return v, nil
	case []byte:
		return string(v), nil
	case bool:
		return strconv.FormatBool(v), nil
	case time.Time:
		return v.Format(time.RFC3339Nano), nil
	case []any, map[string]any:
		return "", fmt.Errorf("it is %s: give the column the type json", kindOf(v))
	}
	return renderNumber(v)
}

func renderInt(v any) (string, error) {
	switch n := v.(type) {
	case float64:
		// Beyond that not every integer is a float64.
		if n == math.Trunc(n) && math.Abs(n) <= 1<<53 {
			return strconv.FormatInt(int64(n), 10), nil
		}
		return "", fmt.Errorf("%v is no int", n)
	case json.Number:
		if _, err := strconv.ParseInt(string(n), 10, 64); err != nil {
			return "", noSuch(string(n), "int")
		}
		return string(n), nil
	case uint64:
		if n > math.MaxInt64 {
			return "", fmt.Errorf("%d is too large for an int: give the column the type number", n)
		}
	}
	return renderAs("int", v)
}

func renderFloat(v any) (string, error) {
	if n, ok := v.(json.Number); ok {
		if _, err := parseFloat(string(n)); err != nil {
			return "", err
		}
	}
	return renderAs("float", v)
}

func renderNumber(v any) (string, error) { return renderAs("number", v) }

// renderAs writes every kind of number, exactly.
func renderAs(kind string, v any) (string, error) {
	switch n := v.(type) {
	case json.Number:
		if !isNumber(string(n)) {
			return "", noSuch(string(n), kind)
		}
		return string(n), nil
	case float64:
		if math.IsNaN(n) || math.IsInf(n, 0) {
			return "", fmt.Errorf("it is %v, which is no number", n)
		}
		return strconv.FormatFloat(n, 'g', -1, 64), nil
	case float32:
		if n != n || math.IsInf(float64(n), 0) {
			return renderAs(kind, float64(n))
		}
		return strconv.FormatFloat(float64(n), 'g', -1, 32), nil
	case int, int8, int16, int32, int64, uint, uint8, uint16, uint32, uint64:
		return fmt.Sprint(n), nil
	}
	return "", fmt.Errorf("it is %s, and a column of type %s needs another value", kindOf(v), kind)
}

func renderBool(v any) (string, error) {
	if b, ok := v.(bool); ok {
		return strconv.FormatBool(b), nil
	}
	return "", fmt.Errorf("it is %s, and a column of type bool needs another value", kindOf(v))
}

func renderJSON(v any) (string, error) {
	b, err := encodeJSON(v)
	return string(b), err
}
