// Package behaviour holds tests only: what users of a Kafka source and sink rely
// on, observed from outside, one test per row of the project's list, named after
// the row's id. Each builds a whole Benthos stream from YAML and looks at topics,
// groups, metrics and logs.
//
// SP start positions · BD bounded runs · DI discovery · CM offset commits ·
// RS restore · SG sink guarantees · RH records and routing · MT metrics ·
// ER errors and client behaviour · MD metadata · SD content.
package behaviour
