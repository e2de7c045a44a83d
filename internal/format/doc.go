// Package format has the formats of records: how their keys and values become the contents of
// messages, and messages become keys and values again. It knows neither Benthos nor a client
// of Kafka; what a format may be asked from outside is in the public package of the same name.
//
// A Reader and a Writer put together what a configuration asks for: one format for the value,
// another for the key, or one that is of the record as a whole.
package format
