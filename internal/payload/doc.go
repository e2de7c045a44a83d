// Package payload writes and reads the bytes that stores and savepoints are made of: what
// stands in a record or a block, between the frame that tells its version and the checksum.
//
//	var e payload.Encoder
//	e.String(job)
//	e.Int(int64(id))
//
//	d := payload.Decoder{B: e.B}
//	job, id := d.String(), d.Int()
//	err := d.End() // ErrMalformed if there was too little, or anything is left
//
// Numbers are varints, signed ones zigzag; names and values are preceded by their length;
// a bool is one byte. These rules are part of every version of every format that is written
// with them, and must never change.
package payload
