package format

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/fxamacker/cbor/v2"

	public "github.com/tidemarkhq/tidemark/format"
)

// envelopeVersion is that of every envelope that this package writes: a preamble, which no
// UTF-8 text begins with, of the magic and the version; then CBOR, an array of the content and
// the metadata, with map keys in the order of their bytes, so that equal messages are equal
// bytes; then the CRC-32C of all that, little endian. Magic, version and checksum are where
// they are in all versions. testdata/envelope-v1.txt holds some.
const envelopeVersion = 1

const (
	envelopeMagic    = "\xf5TME"
	envelopePreamble = len(envelopeMagic) + 1
	envelopeChecksum = 4
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// envelope holds a whole message in the value of a record, and keeps the key apart.
type envelope struct {
	key public.Format
}

// NewEnvelopeReader returns the Reader of the format `envelope`; key may be nil.
func NewEnvelopeReader(key public.Format) (Reader, error) { return newEnvelope(key) }

// NewEnvelopeWriter returns the Writer of the format `envelope`; key may be nil.
func NewEnvelopeWriter(key public.Format) (Writer, error) { return newEnvelope(key) }

func newEnvelope(key public.Format) (*envelope, error) {
	var c checker
	c.keys(Selection{Format: Envelope, KeyFormat: nameOf(key)})
	if err := Err(c.faults); err != nil {
		return nil, err
	}
	return &envelope{key: key}, nil
}

// Read implements Reader. A tombstone is none of a message with metadata.
func (e *envelope) Read(ctx context.Context, r *Record) (Message, error) {
	var m Message
	var err error
	if r.Value != nil {
		if m.Content, m.Metadata, err = openEnvelope(r.Value); err != nil {
			return Message{}, fmt.Errorf("decoding the value: %w", err)
		}
	}
	if e.key == nil {
		return m, nil
	}
	m.KeySet = true
	if r.Key != nil {
		if m.Key, err = decode(ctx, e.key, r, true, r.Key); err != nil {
			return Message{}, err
		}
	}
	return m, nil
}

// Write implements Writer.
func (e *envelope) Write(ctx context.Context, m *Message, r *Record) error {
	var value []byte
	var err error
	if m.Content != nil {
		if value, err = sealEnvelope(m.Content, m.Metadata); err != nil {
			return fmt.Errorf("encoding the value: %w", err)
		}
	}
	if e.key != nil && m.KeySet {
		key, err := encode(ctx, e.key, r, true, m.Key)
		if err != nil {
			return err
		}
		r.Key = key
	}
	r.Value = value
	return nil
}

// NeedsMetadata implements Writer.
func (*envelope) NeedsMetadata() bool { return true }

// envelopeKey is the format of keys that are envelopes, without metadata.
type envelopeKey struct{}

// NewEnvelopeKey returns the format `envelope` for keys.
func NewEnvelopeKey() public.Format { return envelopeKey{} }

// Decode implements public.Format.
func (envelopeKey) Decode(_ context.Context, _ public.Part, data []byte) (any, error) {
	content, metadata, err := openEnvelope(data)
	if err == nil && len(metadata) > 0 {
		err = errors.New("the envelope has metadata, which a key has no place for")
	}
	return content, err
}

// Encode implements public.Format.
func (envelopeKey) Encode(_ context.Context, _ public.Part, content any) ([]byte, error) {
	return sealEnvelope(content, nil)
}

// body is what an envelope holds.
type body struct {
	_        struct{} `cbor:",toarray"`
	Content  any
	Metadata map[string]any
}

func sealEnvelope(content any, metadata map[string]any) ([]byte, error) {
	packed, err := pack(content, nil)
	if err != nil {
		return nil, err
	}
	b := body{Content: packed, Metadata: make(map[string]any, len(metadata))}
	for name, v := range metadata {
		if b.Metadata[name], err = pack(v, nil); err != nil {
			return nil, fmt.Errorf("metadata %q: %w", name, err)
		}
	}
	payload, err := toCBOR.Marshal(b)
	if err != nil {
		return nil, fmt.Errorf("encoding the envelope: %w", err)
	}
	return frame(payload), nil
}

// frame puts what goes around CBOR around it.
func frame(payload []byte) []byte {
	b := make([]byte, 0, envelopePreamble+len(payload)+envelopeChecksum)
	b = append(append(b, envelopeMagic...), envelopeVersion)
	b = append(b, payload...)
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

func openEnvelope(data []byte) (content any, metadata map[string]any, err error) {
	if len(data) < envelopePreamble+envelopeChecksum || string(data[:len(envelopeMagic)]) != envelopeMagic {
		return nil, nil, errors.New("no envelope: it does not begin as one does, and only format envelope writes them")
	}
	end := len(data) - envelopeChecksum
	if crc32.Checksum(data[:end], castagnoli) != binary.LittleEndian.Uint32(data[end:]) {
		return nil, nil, errors.New("the envelope is damaged: its checksum does not match")
	}
	if v := data[len(envelopeMagic)]; v != envelopeVersion {
		return nil, nil, fmt.Errorf("the envelope has version %d, and this build knows version %d: use the build that wrote it", v, envelopeVersion)
	}
	var b body
	if err := fromCBOR.Unmarshal(data[envelopePreamble:end], &b); err != nil {
		return nil, nil, fmt.Errorf("the envelope cannot be decoded: %w", err)
	}
	if content, err = unpack(b.Content); err != nil {
		return nil, nil, err
	}
	for name, v := range b.Metadata {
		if b.Metadata[name], err = unpack(v); err != nil {
			return nil, nil, fmt.Errorf("metadata %q: %w", name, err)
		}
	}
	if len(b.Metadata) == 0 {
		b.Metadata = nil
	}
	return content, b.Metadata, nil
}

// The options are part of the contract, but for the limits: a document that pack takes must
// not exceed them.
var toCBOR, fromCBOR = func() (cbor.EncMode, cbor.DecMode) {
	tags := cbor.NewTagSet()
	for number, typ := range packedTypes {
		must(struct{}{}, tags.Add(cbor.TagOptions{DecTag: cbor.DecTagRequired, EncTag: cbor.EncTagRequired}, typ, number))
	}
	enc := must(cbor.EncOptions{
		Sort:          cbor.SortBytewiseLexical,
		ShortestFloat: cbor.ShortestFloatNone,
		NaNConvert:    cbor.NaNConvertNone,
		InfConvert:    cbor.InfConvertNone,
		NilContainers: cbor.NilContainerAsEmpty,
		IndefLength:   cbor.IndefLengthForbidden,
	}.EncModeWithTags(tags))
	dec := must(cbor.DecOptions{
		DupMapKey:       cbor.DupMapKeyEnforcedAPF,
		MaxNestedLevels: maxDepth + 10,
		// An element takes a byte at least, so that the size of the record is the limit.
		MaxArrayElements: 1<<31 - 1,
		MaxMapPairs:      1<<31 - 1,
		IndefLength:      cbor.IndefLengthForbidden,
		IntDec:           cbor.IntDecConvertSignedOrFail,
		DefaultMapType:   mapType,
		// A header may hold any bytes, and its text must come back as it was.
		UTF8:                 cbor.UTF8DecodeInvalid,
		BignumTag:            cbor.BignumTagForbidden,
		UnrecognizedTagToAny: cbor.UnrecognizedTagNumAndContentToAny,
	}.DecModeWithTags(tags))
	return enc, dec
}()

// must is for options that are constants.
func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
