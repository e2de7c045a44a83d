package registry

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"time"
)

// exactFloat is up to where all whole numbers are float64.
const exactFloat = 1 << 53

// toInt returns a number of a document as a whole one, if that is exact.
func toInt(v any) (int64, error) {
	switch v := v.(type) {
	case int64:
		return v, nil
	case int:
		return int64(v), nil
	case int32:
		return int64(v), nil
	case uint32:
		return int64(v), nil
	case uint64:
		if v > math.MaxInt64 {
			return 0, errors.New("it is out of the range of 64 bits")
		}
		return int64(v), nil
	case float64:
		return wholeFloat(v)
	case float32:
		return wholeFloat(float64(v))
	case json.Number:
		n, err := strconv.ParseInt(string(v), 10, 64)
		if err == nil {
			return n, nil
		}
		if errors.Is(err, strconv.ErrRange) {
			return 0, errors.New("it is out of the range of 64 bits")
		}
		f, err := strconv.ParseFloat(string(v), 64)
		if err != nil {
			return 0, errors.New("it is no number")
		}
		// 1e3 and 5.0 are whole; what a float64 rounded to one is not.
		n, err = wholeFloat(f)
		if d, derr := parseDecimal(string(v), 0); err == nil && (derr != nil || !d.IsInt64() || d.Int64() != n) {
			return 0, errNotExact
		}
		return n, err
	}
	return 0, errors.New("it is no number")
}

func wholeFloat(f float64) (int64, error) {
	if f != math.Trunc(f) {
		return 0, errors.New("it is not whole")
	}
	if math.Abs(f) > exactFloat {
		return 0, fmt.Errorf("%w: a float beyond 2^53 has lost its last digits", errNotExact)
	}
	return int64(f), nil
}

// toFloat returns a number of a document as a float. What is not whole is rounded, as floats
// are; a whole number is not.
func toFloat(v any, single bool) (float64, error) {
	var f float64
	whole := false
	switch v := v.(type) {
	case float64:
		f = v
	case float32:
		f = float64(v)
	case json.Number:
		var err error
		if f, err = strconv.ParseFloat(string(v), 64); err != nil {
			return 0, errors.New("it is no number of 64 bits")
		}
		if whole = !strings.ContainsAny(string(v), ".eE"); whole {
			n, ok := new(big.Int).SetString(string(v), 10)
			back, _ := big.NewFloat(f).Int(nil)
			if !ok || n.Cmp(back) != 0 {
				return 0, errNotExact
			}
		}
	default:
		n, err := toInt(v)
		if err != nil {
			return 0, err
		}
		if f, whole = float64(n), true; f >= math.MaxInt64 || int64(f) != n {
			return 0, errNotExact
		}
	}
	if single && !math.IsInf(f, 0) && !math.IsNaN(f) {
		s := float32(f)
		if math.IsInf(float64(s), 0) {
			return 0, errors.New("it is out of the range of 32 bits")
		}
		if whole && float64(s) != f {
			return 0, errNotExact
		}
	}
	return f, nil
}

// avroTime turns times of a document into the number of a logical type. isTime is false for
// what must be a number.
func avroTime(logical string, v any) (n int64, isTime bool, err error) {
	switch logical {
	case "date", "timestamp-millis", "timestamp-micros", "timestamp-nanos",
		"local-timestamp-millis", "local-timestamp-micros", "local-timestamp-nanos":
	case "time-millis", "time-micros":
		s, ok := v.(string)
		if !ok {
			return 0, false, nil
		}
		t, err := time.Parse("15:04:05.999999999", s)
		if err != nil {
			return 0, true, errors.New("it is no time of day, such as 15:04:05.123")
		}
		d := t.Sub(time.Date(0, 1, 1, 0, 0, 0, 0, time.UTC))
		if logical == "time-millis" {
			return d.Milliseconds(), true, nil
		}
		return d.Microseconds(), true, nil
	default:
		return 0, false, nil
	}
	var t time.Time
	switch v := v.(type) {
	case time.Time:
		t = v
	case string:
		if t, err = time.Parse(time.RFC3339Nano, v); err != nil && logical == "date" {
			t, err = time.Parse(time.DateOnly, v)
		}
		if err != nil {
			return 0, true, errors.New("it is no time, such as 2006-01-02T15:04:05Z")
		}
	default:
		return 0, false, nil
	}
	_, unit, _ := strings.Cut(strings.TrimPrefix(logical, "local-"), "-")
	var back time.Time
	switch {
	case logical == "date":
		s := t.Unix()
		n = s / 86400
		if s%86400 < 0 {
			n--
		}
		return n, true, nil
	case unit == "millis":
		n = t.UnixMilli()
		back = time.UnixMilli(n)
	case unit == "micros":
		n = t.UnixMicro()
		back = time.UnixMicro(n)
	default:
		n = t.UnixNano()
		back = time.Unix(0, n)
	}
	// Finer than the unit is cut; out of its range is another time altogether.
	if d := t.Sub(back); d < 0 || d >= time.Millisecond {
		return 0, true, errors.New("it is out of the range of the type")
	}
	return n, true, nil
}

// decimal returns the bytes of a decimal, which takes numbers and their texts.
func (f *avroBytes) decimal(v any) ([]byte, error) {
	var text string
	switch v := v.(type) {
	case string:
		text = v
	case json.Number:
		text = string(v)
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return nil, errors.New("it is no decimal number")
		}
		// The digits that the float stands for, not those of its last bit.
		text = strconv.FormatFloat(v, 'f', -1, 64)
	default:
		n, err := toInt(v)
		if err != nil {
			return nil, err
		}
		text = strconv.FormatInt(n, 10)
	}
	n, err := parseDecimal(text, f.scale)
	if err != nil {
		return nil, err
	}
	if digits := len(new(big.Int).Abs(n).String()); n.Sign() != 0 && digits > f.precision {
		return nil, fmt.Errorf("it has %d digits", digits)
	}
	return twosComplement(n, f.typ == "fixed", f.size)
}

// parseDecimal returns a number times ten to the scale, if that is whole.
func parseDecimal(text string, scale int) (*big.Int, error) {
	bad := errors.New("it is no decimal number")
	mantissa, exponent, hasExponent := strings.Cut(strings.ToLower(text), "e")
	whole, fraction, _ := strings.Cut(mantissa, ".")
	digits := strings.TrimPrefix(whole, "-") + fraction
	if digits == "" || len(digits) > 2*largestDecimal || strings.Trim(digits, "0123456789") != "" {
		return nil, bad
	}
	shift := scale - len(fraction)
	if hasExponent {
		e, err := strconv.Atoi(exponent)
		if err != nil || e > 2*largestDecimal || e < -2*largestDecimal {
			return nil, bad
		}
		shift += e
	}
	if shift < 0 {
		zeros := len(digits) - len(strings.TrimRight(digits, "0"))
		if zeros < len(digits) && zeros < -shift {
			return nil, fmt.Errorf("it has more than %d digits behind the point", scale)
		}
		digits = "0" + digits[:max(len(digits)+shift, 0)]
	} else {
		digits += strings.Repeat("0", shift)
	}
	n, ok := new(big.Int).SetString(digits, 10)
	if !ok {
		return nil, bad
	}
	if strings.HasPrefix(whole, "-") {
		n.Neg(n)
	}
	return n, nil
}

// twosComplement returns n in the fewest bytes, or in those of a fixed.
func twosComplement(n *big.Int, fixed bool, size int) ([]byte, error) {
	// One more than the bits of the magnitude, of n-1 for negative numbers, holds the sign.
	magnitude := n
	if n.Sign() < 0 {
		magnitude = new(big.Int).Not(n)
	}
	need := magnitude.BitLen()/8 + 1
	if !fixed {
		size = need
	}
	if need > size {
		return nil, fmt.Errorf("it does not fit into %d bytes", size)
	}
	out := magnitude.FillBytes(make([]byte, size))
	if n.Sign() < 0 {
		for i := range out {
			out[i] = ^out[i]
		}
	}
	return out, nil
}

// uuidBytes reads the 16 bytes of an identifier.
func uuidBytes(v any) ([]byte, error) {
	s, _ := v.(string)
	if len(s) != 36 || s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-' {
		return nil, errors.New("it is no uuid")
	}
	return hex.DecodeString(strings.ReplaceAll(s, "-", ""))
}

func sortedKeys(m map[string]any) []string { return slices.Sorted(maps.Keys(m)) }
