package format

import (
	"context"
	"errors"
)

// Part is the part of a record that is decoded or encoded.
type Part struct {
	// Topic of the record.
	Topic string
	// Key tells the key from the value.
	Key bool
	// Partition and Offset of a record that was read; -1 of one that is written.
	Partition int32
	Offset    int64
}

// Format decodes and encodes parts of records. Calls may come at the same time.
//
// Content is what a Benthos message holds: bytes as []byte, or a document made of nil, bool,
// string, int64, float64, json.Number, time.Time, []byte, []any and map[string]any.
type Format interface {
	// Decode returns the content of data, which is never nil: a tombstone, or a record
	// without a key, has nothing to decode. The content may share memory with data, which
	// nobody changes, and with what another call returns: it is copied.
	//
	// An error is the record's own, and the field `on_bad_record` says what becomes of
	// the record, unless it is marked by Unavailable.
	Decode(ctx context.Context, p Part, data []byte) (any, error)
	// Encode returns the bytes of content, which it must not change. They may share memory
	// with it, and with what another call returns: they are copied. ErrNothing tells that
	// there is nothing to write.
	//
	// An error is the message's own, which the pipeline can route, unless it is marked by
	// Unavailable.
	Encode(ctx context.Context, p Part, content any) ([]byte, error)
}

// ErrNothing is what Encode returns for a message of which no record is made. It counts as
// delivered, and neither as sent nor as failed.
var ErrNothing = errors.New("nothing to write")

// UnavailableError is about what a format depends on, such as a registry of schemas, and not
// about the record, which can be tried again.
type UnavailableError struct{ Err error }

// Unavailable marks err; nil stays nil.
func Unavailable(err error) error {
	if err == nil {
		return nil
	}
	return &UnavailableError{Err: err}
}

// IsUnavailable tells whether err is marked.
func IsUnavailable(err error) bool {
	var u *UnavailableError
	return errors.As(err, &u)
}

// Error implements error.
func (e *UnavailableError) Error() string { return e.Err.Error() }

// Unwrap returns the marked error.
func (e *UnavailableError) Unwrap() error { return e.Err }
