package soak

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
)

// Names that the program of the state harness keeps its state under.
const (
	TallyOperator = "tally"
	TallyKey      = "tally"
)

// Tally is what the test operator knows of a partition: how many records it has
// seen, and the sum of their amounts.
type Tally struct {
	Count int64  `json:"count"`
	Sum   uint64 `json:"sum"`
}

// Add counts record n of partition p.
func (t *Tally) Add(p int32, n int64) {
	t.Count++
	t.Sum += uint64(Amount(p, n))
}

// Encode makes state of the tally.
func (t *Tally) Encode() []byte {
	b := binary.BigEndian.AppendUint64(nil, uint64(t.Count))
	return binary.BigEndian.AppendUint64(b, t.Sum)
}

// Decode reads state; none is an empty tally.
func (t *Tally) Decode(b []byte) error {
	switch len(b) {
	case 0:
		*t = Tally{}
	case 16:
		*t = Tally{Count: int64(binary.BigEndian.Uint64(b)), Sum: binary.BigEndian.Uint64(b[8:])}
	default:
		return fmt.Errorf("reading a tally: %d bytes, want 16", len(b))
	}
	return nil
}

// Fold is the dumb twin of the operator: the tallies of all records below a
// position. Asking for positions that grow is cheap.
type Fold struct{ at map[int32][]Tally }

// foldStep is how far apart the tallies are that a Fold remembers.
const foldStep = 10_000

// Below returns the tally of the records 0 to n-1 of partition p.
func (f *Fold) Below(p int32, n int64) Tally {
	if f.at == nil {
		f.at = map[int32][]Tally{}
	}
	if len(f.at[p]) == 0 {
		f.at[p] = []Tally{{}}
	}
	k := min(n/foldStep, int64(len(f.at[p])-1))
	t := f.at[p][k]
	for t.Count < n {
		t.Add(p, t.Count)
		if t.Count == int64(len(f.at[p]))*foldStep {
			f.at[p] = append(f.at[p], t)
		}
	}
	return t
}

// EventKind says what happened in the program of the state harness.
type EventKind string

// What its operator and its sink tell.
const (
	// Restored: the operator was told to forget what it knows.
	Restored EventKind = "restored"
	// Loaded: the operator has read the state of a partition, when record Number
	// came.
	Loaded EventKind = "loaded"
	// Mismatch: record Number came, but the operator had seen Count records.
	Mismatch EventKind = "mismatch"
	// Wrote: the records Number to To of a partition were flushed.
	Wrote EventKind = "wrote"
	// Discarded: a rewind began; Accepted: it is over.
	Discarded EventKind = "discarded"
	Accepted  EventKind = "accepted"
	// Abandoned: a record of an abandoned attempt came to a sink that accepts.
	Abandoned EventKind = "abandoned"
)

// Event is one line of the trace.
type Event struct {
	Kind EventKind `json:"kind"`
	// Life counts the processes, Attempt the rewinds of one.
	Life      int   `json:"life"`
	Attempt   int   `json:"attempt"`
	Partition int32 `json:"partition"`
	Number    int64 `json:"number"`
	To        int64 `json:"to,omitempty"`
	Tally     Tally `json:"tally"`
}

// ReadTrace reads the trace of one life. A last line that the end of the process
// has torn is left out.
func ReadTrace(path string) ([]Event, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("reading a trace: %w", err)
	}
	defer f.Close()
	var events []Event
	var torn error
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if torn != nil {
			return nil, fmt.Errorf("reading a trace: %w", torn)
		}
		var e Event
		if torn = json.Unmarshal(lines.Bytes(), &e); torn == nil {
			events = append(events, e)
		}
	}
	return events, nil
}

// CheckTrace tells an audit what is wrong in the trace of one life: state that is
// not the fold of all records below the first one read, and records of an
// abandoned attempt that came to the sink after the rewind had begun. It returns
// the number of rewinds.
func CheckTrace(a *Audit, fold *Fold, events []Event) (rewinds int) {
	attempt, discarding := 0, false
	for _, e := range events {
		switch e.Kind {
		case Loaded:
			if want := fold.Below(e.Partition, e.Number); e.Tally != want {
				a.Violate(WrongState, "life %d attempt %d: the state of partition %d was %+v when record %d came, the records below it make %+v",
					e.Life, e.Attempt, e.Partition, e.Tally, e.Number, want)
			}
		case Mismatch:
			a.Violate(WrongState, "life %d attempt %d: partition %d counted %d when record %d came",
				e.Life, e.Attempt, e.Partition, e.Tally.Count, e.Number)
		case Discarded:
			discarding = true
			rewinds++
			attempt++
		case Accepted:
			discarding = false
		case Abandoned:
			a.Violate(AbandonedAttempt, "life %d: record %d of partition %d, of attempt %d, came to the sink in attempt %d",
				e.Life, e.Number, e.Partition, e.Attempt, attempt)
		case Wrote:
			if discarding || e.Attempt < attempt {
				a.Violate(AbandonedAttempt, "life %d: records %d to %d of partition %d, of attempt %d, were written in attempt %d",
					e.Life, e.Number, e.To, e.Partition, e.Attempt, attempt)
			}
		}
	}
	return rewinds
}

// errAttempt says that a record does not name its attempt.
var errAttempt = errors.New("it has no header attempt of the form life.attempt")

// ParseAttempt reads the header in which the state harness has records carry the
// life and the attempt that wrote them.
func ParseAttempt(text string) (life, attempt int, err error) {
	if n, _ := fmt.Sscanf(text, "%d.%d", &life, &attempt); n != 2 {
		return 0, 0, fmt.Errorf("reading %q: %w", text, errAttempt)
	}
	return life, attempt, nil
}
