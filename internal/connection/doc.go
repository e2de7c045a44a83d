// Package connection is the Benthos side of connecting to Kafka, shared by the
// input and the output: the configuration fields, with the names, defaults and
// meaning of Redpanda Connect's, and what turns them into a kafka.Connection that
// logs through the stream's logger and counts through its metrics.
//
//	spec = spec.Fields(connection.Fields()...)
//	over, err := connection.Overrides(conf, kafka.Consumer)
//	conn, err := connection.Parse(conf, res, over)
//	client, err := conn.NewClient(…)
package connection
