// Command tally is a Benthos build with Tidemark and two plugins that the harness
// for state and rewind needs. Both join the checkpoints of their stream through the
// public API, as anybody's plugins would:
//
//   - the processor tally counts records and adds their amounts up, by partition,
//     as state of its checkpoints;
//   - the output tally_sink keeps what it is given until the flush, and fails every
//     n-th flush.
//
// What they see goes to a trace, one line of JSON for each event; see Event.
package main
