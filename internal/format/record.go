package format

import "context"

// Record is a record as far as formats look at it.
type Record struct {
	Topic string
	// Partition and Offset of a record that was read; -1 of one that is written.
	Partition int32
	Offset    int64
	// Timestamp in milliseconds since 1970.
	Timestamp int64
	// Key and Value; nil if there is none.
	Key, Value []byte
}

// Message is a message as far as formats look at it.
type Message struct {
	// Content is []byte, or a document; see the public package.
	Content any
	// Key is the decoded key, []byte if its format is raw; nil if there is none. KeySet
	// tells that a Reader has decoded it, or that a Writer has to encode it.
	Key    any
	KeySet bool
	// Metadata that comes from the record's content, or goes into it; nil if none.
	Metadata map[string]any
}

// Reader makes messages of records. Calls may come at the same time. A record without a
// value, a tombstone, has the content nil, unless the format is of the whole record. So has
// one whose document is null: Record.Value tells them apart.
//
// Errors name the part of the record, and are its own unless they are marked as unavailable.
type Reader interface {
	Read(ctx context.Context, r *Record) (Message, error)
}

// Writer makes keys and values of messages. Calls may come at the same time. The content nil
// makes a tombstone, with every format; a document that is null comes as the bytes that Benthos
// holds it in. After an error the record is as it was.
type Writer interface {
	// Write fills the value of r, and its key if the format says what it is. r.Topic is
	// set, r.Key is the key that the record has otherwise.
	Write(ctx context.Context, m *Message, r *Record) error
	// NeedsMetadata tells that Message.Metadata has to hold all metadata of the message.
	NeedsMetadata() bool
}
