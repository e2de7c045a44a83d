// Package registry has the formats whose schemas are in a schema registry: avro, protobuf and
// json_schema.
//
//	client, err := registry.NewClient(registry.Config{URLs: []string{"http://registry:8081"}})
//	...
//	value, err := registry.Avro(client, registry.Options{Writing: true, Schema: text})
//
// What they read and write begins with a byte 0 and the schema's id in four bytes, big endian,
// as Confluent's serializers have it; protobuf adds which of the schema's messages it is. What
// follows is decoded with the schema that it was written with, and brought to a reader schema
// if one is given.
//
// The caller's duties:
//
//  1. One Client serves any number of formats; Close it after the last of them.
//  2. A registry that does not answer, or refuses us, is an error marked by format.Unavailable,
//     after the retries of Config; the same record can be tried again. So is the end of the
//     context. Everything else is the record's, or the message's, own.
//  3. Clients and formats may be used by several goroutines at the same time.
//
// A schema's id means the same schema for ever, so each is asked for once, whatever the number
// of records and goroutines; so are the id of what is written and the references between
// schemas. What the registry does not know is asked for again after a few seconds.
package registry
