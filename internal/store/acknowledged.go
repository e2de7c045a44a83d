package store

import (
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/tidemarkhq/tidemark/checkpoint"
)

// acknowledgement is what Persist has promised: checkpoint id of a generation is
// durable.
//
// It is written in place, without a sync of its own, after the batch was synced.
// So it can never claim more than what is on disk. A process that is killed loses
// nothing of it; a machine that crashes may bring back an older one, which then
// proves less, but nothing wrong. The two slots take turns and lie in different
// pages, so that at most one of them can be torn.
type acknowledgement struct {
	generation int
	id         checkpoint.ID
}

const (
	slots        = 2
	slotDistance = 4096
)

func (a acknowledgement) encode() []byte {
	var e encoder
	e.Int(int64(a.generation))
	e.Int(int64(a.id))
	const longest = 20
	e.B = append(e.B, make([]byte, longest-len(e.B))...)
	return seal(nil, []byte(acknowledgedFile), e.B)
}

func decodeAcknowledgement(record []byte) (a acknowledgement, err error) {
	payload, err := unseal([]byte(acknowledgedFile), record)
	if err != nil {
		return a, err
	}
	d := decoderOf(payload)
	a.generation = int(d.Int())
	a.id = checkpoint.ID(d.Int())
	if d.Err != nil {
		return a, d.end(acknowledgedFile)
	}
	return a, nil
}

func (a acknowledgement) after(b acknowledgement) bool {
	if a.generation != b.generation {
		return a.generation > b.generation
	}
	return a.id > b.id
}

func slotSize() int { return len(acknowledgement{}.encode()) }

// acknowledgements is the open ACKNOWLEDGED file.
type acknowledgements struct {
	file vfs.File
	next int
}

// writeAcknowledgements makes the file anew, both slots the same, synced.
func (f folder) writeAcknowledgements(a acknowledgement) error {
	content := make([]byte, slotDistance+slotSize())
	for i := range slots {
		copy(content[i*slotDistance:], a.encode())
	}
	return f.replace(acknowledgedFile, content)
}

// readAcknowledgement returns the later of the two slots. One that does not check
// was being written when the machine crashed; both cannot be.
func (f folder) readAcknowledgement() (last acknowledgement, err error) {
	content, err := f.read(acknowledgedFile)
	if err != nil {
		return last, damage("reading "+f.join(acknowledgedFile), err)
	}
	var bad []error
	for i := range slots {
		start := min(i*slotDistance, len(content))
		a, err := decodeAcknowledgement(content[start:min(start+slotSize(), len(content))])
		switch {
		case err != nil:
			bad = append(bad, err)
		case a.after(last):
			last = a
		}
	}
	if len(bad) == slots {
		return last, damage("reading "+f.join(acknowledgedFile), errors.Join(bad...))
	}
	return last, nil
}

func (f folder) openAcknowledgements(last acknowledgement) (*acknowledgements, error) {
	// Both slots are made whole first: a torn one must not stay the only other.
	if err := f.writeAcknowledgements(last); err != nil {
		return nil, fmt.Errorf("writing %s: %w", f.join(acknowledgedFile), err)
	}
	file, err := f.fs.OpenReadWrite(f.join(acknowledgedFile), vfs.WriteCategoryUnspecified)
	if err != nil {
		return nil, fmt.Errorf("opening %s: %w", f.join(acknowledgedFile), err)
	}
	return &acknowledgements{file: file}, nil
}

func (k *acknowledgements) write(a acknowledgement) error {
	_, err := k.file.WriteAt(a.encode(), int64(k.next)*slotDistance)
	k.next = (k.next + 1) % slots
	return err
}
