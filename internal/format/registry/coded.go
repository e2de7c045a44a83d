package registry

import (
	"context"
	"encoding/binary"
	"fmt"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/twmb/franz-go/pkg/sr"

	"github.com/tidemarkhq/tidemark/format"
)

// language is what the formats differ in.
type language interface {
	// compile makes a codec of a schema. Its error says what is wrong with the schema.
	compile(ctx context.Context, b *bundle) (codec, error)
	// resolve makes a codec that decodes what writer encoded, as reader has it. Both are of
	// this language.
	resolve(writer, reader codec) (codec, error)
}

// codec decodes and encodes what follows the schema's id. It is safe for concurrent use.
type codec interface {
	decode(data []byte) (any, error)
	// encode appends to b.
	encode(b []byte, content any) ([]byte, error)
	// name of the schema, empty if it has none.
	name() string
}

// coded is a format whose records begin with the id of a schema.
type coded struct {
	client *Client
	opts   Options
	typ    sr.SchemaType
	lang   language

	readers *memo[source, codec]
	targets *memo[target, written]
}

// source is what decides how a record is read. The part is empty unless the reader schema
// depends on it.
type source struct {
	id   int
	part target
}

// target is what the schema of a record to write depends on; topic is empty where it is the
// same for all.
type target struct {
	topic string
	key   bool
}

// written is what a record is written with.
type written struct {
	codec
	header [headerLength]byte
}

// headerLength is that of the magic byte and the id.
const headerLength = 5

func newCoded(c *Client, o Options, typ sr.SchemaType, lang language) (*coded, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	f := &coded{client: c, opts: o, typ: typ, lang: lang,
		readers: newMemo[source, codec](mostSchemas), targets: newMemo[target, written](mostSchemas)}
	if o.Schema != "" && len(o.References) == 0 {
		if _, err := lang.compile(context.Background(), &bundle{text: o.Schema, typ: typ}); err != nil {
			return nil, fmt.Errorf("schema: %w", err)
		}
	}
	if o.ReaderSchema != "" && len(o.ReaderReferences) == 0 {
		if _, err := lang.compile(context.Background(), &bundle{text: o.ReaderSchema, typ: typ}); err != nil {
			return nil, fmt.Errorf("reader_schema: %w", err)
		}
	}
	return f, nil
}

// Decode implements format.Format.
func (f *coded) Decode(ctx context.Context, p format.Part, data []byte) (any, error) {
	if len(data) < headerLength || data[0] != 0 {
		return nil, noHeader(data)
	}
	id := binary.BigEndian.Uint32(data[1:headerLength])
	from := source{id: int(id)}
	var holds time.Duration
	if f.opts.ReaderVersion != 0 {
		if f.opts.Subject == "" {
			from.part = target{p.Topic, p.Key}
		}
		if f.opts.ReaderVersion == Latest {
			holds = f.client.config.Refresh
		}
	}
	c, err := f.readers.get(ctx, from, holds, func(ctx context.Context) (codec, error) {
		return f.reader(ctx, from.id, p)
	})
	if err != nil {
		return nil, err
	}
	content, err := c.decode(data[headerLength:])
	if err != nil {
		return nil, fmt.Errorf("schema %d: %w", id, err)
	}
	return content, nil
}

// noHeader says what a record holds instead of a schema's id.
func noHeader(data []byte) error {
	switch {
	case len(data) == 0:
		return fmt.Errorf("it is empty; a record written with a registry has the byte 0 and a schema's id in 4 bytes at its beginning")
	case data[0] == 0:
		return fmt.Errorf("it has %d bytes; a record written with a registry has the byte 0 and a schema's id in 4 bytes at its beginning", len(data))
	}
	found := fmt.Sprintf("0x%02x", data[0])
	if data[0] < utf8.RuneSelf && strconv.IsPrint(rune(data[0])) {
		found += fmt.Sprintf(" (%q)", data[0])
	}
	hint := ""
	if data[0] == '{' || data[0] == '[' {
		hint = "; if it is plain JSON, the format is `json`"
	}
	return fmt.Errorf("it begins with %s, not with the byte 0 and a schema's id as a record written with a registry does%s", found, hint)
}

// reader makes the codec for records with an id.
func (f *coded) reader(ctx context.Context, id int, p format.Part) (codec, error) {
	s, err := f.client.schema(ctx, id)
	if err != nil {
		return nil, err
	}
	writer, err := f.compile(ctx, s, "schema "+strconv.Itoa(id))
	if err != nil {
		return nil, err
	}
	reader, err := f.readerSchema(ctx, p)
	if err != nil {
		// The record is as good as before: whatever keeps us from having the schema that
		// it shall be brought to has to be mended.
		return nil, format.Unavailable(err)
	}
	c, err := f.lang.resolve(writer, reader)
	if err != nil {
		return nil, fmt.Errorf("schema %d: %w", id, err)
	}
	return c, nil
}

// readerSchema makes the codec that records are brought to, nil if there is none.
func (f *coded) readerSchema(ctx context.Context, p format.Part) (codec, error) {
	switch {
	case f.opts.ReaderSchema != "":
		s := sr.Schema{Schema: f.opts.ReaderSchema, Type: f.typ, References: asRegistered(f.opts.ReaderReferences)}
		return f.compile(ctx, s, "reader_schema")
	case f.opts.ReaderVersion != 0:
		subject, err := f.opts.subject(p.Topic, p.Key, "")
		if err != nil {
			return nil, err
		}
		v, err := f.client.version(ctx, version{subject, f.opts.ReaderVersion})
		if err != nil {
			return nil, fmt.Errorf("reader schema: %w", err)
		}
		return f.compile(ctx, v.Schema, fmt.Sprintf("reader schema, version %d of subject %q", v.Version, subject))
	}
	return nil, nil
}

// compile fetches what a schema refers to and makes a codec of it.
func (f *coded) compile(ctx context.Context, s sr.Schema, what string) (codec, error) {
	if s.Type != f.typ {
		return nil, fmt.Errorf("%s is of type %v, and the format is for %v", what, s.Type, f.typ)
	}
	b, err := f.client.collect(ctx, s)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	c, err := f.lang.compile(ctx, b)
	if err != nil {
		if ctx.Err() != nil {
			return nil, format.Unavailable(fmt.Errorf("%s: %w", what, ctx.Err()))
		}
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	return c, nil
}

// Encode implements format.Format.
func (f *coded) Encode(ctx context.Context, p format.Part, content any) ([]byte, error) {
	to := target{p.Topic, p.Key}
	if f.opts.SchemaID != 0 || f.opts.Subject != "" || f.opts.SubjectName == RecordName {
		to = target{}
	}
	var holds time.Duration
	if f.opts.SchemaVersion == Latest {
		holds = f.client.config.Refresh
	}
	w, err := f.targets.get(ctx, to, holds, func(ctx context.Context) (written, error) {
		return f.target(ctx, p)
	})
	if err != nil {
		return nil, err
	}
	return w.encode(append(make([]byte, 0, 256), w.header[:]...), content)
}

// target says what records of a part are written with.
func (f *coded) target(ctx context.Context, p format.Part) (w written, err error) {
	var id int
	switch {
	case f.opts.SchemaID != 0:
		id = f.opts.SchemaID
		s, err := f.client.schema(ctx, id)
		if err != nil {
			return w, err
		}
		if w.codec, err = f.compile(ctx, s, "schema "+strconv.Itoa(id)); err != nil {
			return w, err
		}
	case f.opts.Schema != "":
		s := sr.Schema{Schema: f.opts.Schema, Type: f.typ, References: asRegistered(f.opts.References)}
		if w.codec, err = f.compile(ctx, s, "schema"); err != nil {
			return w, err
		}
		subject, err := f.opts.subject(p.Topic, p.Key, w.name())
		if err != nil {
			return w, err
		}
		if id, err = f.client.register(ctx, subject, s, !f.opts.LookUpOnly); err != nil {
			return w, err
		}
	case f.opts.SchemaVersion != 0:
		subject, err := f.opts.subject(p.Topic, p.Key, "")
		if err != nil {
			return w, err
		}
		v, err := f.client.version(ctx, version{subject, f.opts.SchemaVersion})
		if err != nil {
			return w, err
		}
		id = v.ID
		what := fmt.Sprintf("version %d of subject %q", v.Version, subject)
		if id <= 0 {
			return w, fmt.Errorf("%s: the registry answered with the id %d", what, id)
		}
		if w.codec, err = f.compile(ctx, v.Schema, what); err != nil {
			return w, err
		}
	default:
		return w, errNoSchema
	}
	w.header = [headerLength]byte{}
	binary.BigEndian.PutUint32(w.header[1:], uint32(id))
	return w, nil
}
