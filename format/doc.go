// Package format is how a build of its own adds a format for the keys and values of records,
// beside those that the field `format` of the input and the output has always.
//
//	func init() {
//		err := format.Register("acme.orders", func(format.Settings) (format.Format, error) { return orders{}, nil })
//		...
//	}
//
// A Format turns the bytes of one part of a record, its value or its key, into the content of
// a message and back. It needs neither Benthos nor a Kafka client.
package format
