// Package buffer has the buffer event_time_window, which groups messages by event time.
//
// It acknowledges what it has stored, so that it does not hold its input back: what is in
// its windows is part of the checkpoint. The way of a record:
//
//	WriteBatch → window.Add → (the watermark of its partition → window.Advance → emit) → ack
//	Arrived, when event time moves without records → window.Advance → emit
//	emit → ledger → queue → ReadBatch → pipeline → ack → out of the ledger
//
// Results are in the ledger before what caused them leaves it, so that a checkpoint finds
// each of them in the output, or in the state. If very many fire at once they leave bit by
// bit, and a cut may come in between: the state then still holds those that have not left.
//
// Lock order: buffer.turn, which orders emissions, then buffer.mu. A cut needs mu only, and
// never runs while somebody else holds it, because whoever does has an entry in the ledger.
package buffer
