package format

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strconv"
	"time"
)

// Values that CBOR would give back as another type travel as one of these. Null, booleans,
// strings, bytes, int64, float64, arrays and objects are CBOR's own.
type (
	packedInt     int64
	packedInt8    int8
	packedInt16   int16
	packedInt32   int32
	packedUint    uint64
	packedUint8   uint8
	packedUint16  uint16
	packedUint32  uint32
	packedUint64  uint64
	packedFloat32 float64
	packedNumber  string

	// packedTime keeps the offset from UTC, but not the name of the zone.
	packedTime struct {
		_           struct{} `cbor:",toarray"`
		Seconds     int64
		Nanoseconds uint32
		Offset      int32 // seconds east of UTC
	}
)

// packedTypes are their tags, which stay what they are as long as there are envelopes.
var packedTypes = map[uint64]reflect.Type{
	60160: reflect.TypeFor[packedInt](),
	60161: reflect.TypeFor[packedUint64](),
	60162: reflect.TypeFor[packedNumber](),
	60163: reflect.TypeFor[packedTime](),
	60164: reflect.TypeFor[packedInt8](),
	60165: reflect.TypeFor[packedInt16](),
	60166: reflect.TypeFor[packedInt32](),
	60167: reflect.TypeFor[packedUint](),
	60168: reflect.TypeFor[packedUint8](),
	60169: reflect.TypeFor[packedUint16](),
	60170: reflect.TypeFor[packedUint32](),
	60171: reflect.TypeFor[packedFloat32](),
}

var mapType = reflect.TypeFor[map[string]any]()

// maxZone is how far from UTC a time may be: no zone is a day away.
const maxZone = 24 * 60 * 60

// pack returns a copy of a value that is made of what goes through CBOR.
func pack(v any, path []string) (any, error) {
	if len(path) > maxDepth {
		return nil, errTooDeep
	}
	switch v := v.(type) {
	case nil, bool, string, []byte, int64, float64:
		return v, nil
	case json.Number:
		return packedNumber(v), nil
	case time.Time:
		return packTime(v, path)
	case []any:
		return packArray(v, path)
	case map[string]any:
		return packObject(v, path)
	}
	if n, ok := packInteger(v); ok {
		return n, nil
	}
	return nil, fmt.Errorf("%s is a %T, which an envelope cannot hold: make it one of the types that mappings have", place(path), v)
}

func packArray(v []any, path []string) (any, error) {
	packed := make([]any, len(v))
	for i, e := range v {
		p, err := pack(e, append(path, strconv.Itoa(i)))
		if err != nil {
			return nil, err
		}
		packed[i] = p
	}
	return packed, nil
}

func packObject(v map[string]any, path []string) (any, error) {
	packed := make(map[string]any, len(v))
	for name, e := range v {
		p, err := pack(e, append(path, name))
		if err != nil {
			return nil, err
		}
		packed[name] = p
	}
	return packed, nil
}

func packTime(v time.Time, path []string) (any, error) {
	_, offset := v.Zone()
	if offset <= -maxZone || offset >= maxZone {
		return nil, fmt.Errorf("%s is a time that is %d s from UTC, and an envelope holds less than a day", place(path), offset)
	}
	return packedTime{Seconds: v.Unix(), Nanoseconds: uint32(v.Nanosecond()), Offset: int32(offset)}, nil
}

// packInteger packs the other numbers.
func packInteger(v any) (packed any, ok bool) {
	switch v := v.(type) {
	case int:
		return packedInt(v), true
	case int8:
		return packedInt8(v), true
	case int16:
		return packedInt16(v), true
	case int32:
		return packedInt32(v), true
	case uint:
		return packedUint(v), true
	case uint8:
		return packedUint8(v), true
	case uint16:
		return packedUint16(v), true
	case uint32:
		return packedUint32(v), true
	case uint64:
		return packedUint64(v), true
	case float32:
		return packedFloat32(v), true
	}
	return nil, false
}

// unpack returns the value that was packed; it changes arrays and objects in place.
func unpack(v any) (any, error) {
	var err error
	switch v := v.(type) {
	case nil, bool, string, []byte, int64, float64:
		return v, nil
	case packedNumber:
		return json.Number(v), nil
	case packedTime:
		return unpackTime(v)
	case []any:
		for i, e := range v {
			if v[i], err = unpack(e); err != nil {
				return nil, err
			}
		}
		return v, nil
	case map[string]any:
		for name, e := range v {
			if v[name], err = unpack(e); err != nil {
				return nil, err
			}
		}
		return v, nil
	}
	if n, ok := unpackInteger(v); ok {
		return n, nil
	}
	return nil, fmt.Errorf("the envelope holds a %T, which this build does not know", v)
}

func unpackTime(v packedTime) (any, error) {
	if v.Nanoseconds >= uint32(time.Second) || v.Offset <= -maxZone || v.Offset >= maxZone {
		return nil, fmt.Errorf("the envelope holds a time of %d ns and %d s from UTC", v.Nanoseconds, v.Offset)
	}
	zone := time.UTC
	if v.Offset != 0 {
		zone = time.FixedZone("", int(v.Offset))
	}
	return time.Unix(v.Seconds, int64(v.Nanoseconds)).In(zone), nil
}

func unpackInteger(v any) (n any, ok bool) {
	switch v := v.(type) {
	case packedInt:
		return int(v), int64(int(v)) == int64(v) // an int may be of 32 bits
	case packedInt8:
		return int8(v), true
	case packedInt16:
		return int16(v), true
	case packedInt32:
		return int32(v), true
	case packedUint:
		return uint(v), uint64(uint(v)) == uint64(v)
	case packedUint8:
		return uint8(v), true
	case packedUint16:
		return uint16(v), true
	case packedUint32:
		return uint32(v), true
	case packedUint64:
		return uint64(v), true
	case packedFloat32:
		return float32(v), true
	}
	return nil, false
}
