package registry

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/bufbuild/protocompile"
	"github.com/twmb/franz-go/pkg/sr"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/tidemarkhq/tidemark/format"
)

// Protobuf is the format `protobuf`.
func Protobuf(c *Client, o Options) (format.Format, error) {
	return newCoded(c, o, sr.TypeProtobuf, protoLanguage{message: o.Message, protoNames: o.ProtoNames, emit: o.EmitUnpopulated})
}

// protoLanguage makes codecs of .proto texts.
type protoLanguage struct {
	message    string // to write, or to bring records to; "" for the first, or the record's
	protoNames bool
	emit       bool
}

// protoCodec decodes and encodes the messages of one .proto text.
type protoCodec struct {
	protoLanguage
	file  protoreflect.FileDescriptor
	types *dynamicpb.Types
	// partial tells that no message has required fields, so that nobody need look for them.
	partial bool
	// reader is the codec of the reader schema, nil if there is none.
	reader *protoCodec
	// write is the message to write; nil if protoLanguage.message is none of the file's.
	write protoreflect.MessageDescriptor
	index []byte // of write, as it stands in a record
}

// protoSelf is the name of a schema's own file; its references have theirs.
const protoSelf = "this-schema.proto"

// deepestMessage bounds how messages are nested in each other.
const deepestMessage = 100

func (l protoLanguage) compile(ctx context.Context, b *bundle) (codec, error) {
	texts := map[string]string{protoSelf: b.text}
	for _, i := range b.imports {
		texts[i.name] = i.text
	}
	compiler := protocompile.Compiler{
		MaxParallelism: 1,
		Resolver: protocompile.WithStandardImports(&protocompile.SourceResolver{Accessor: func(path string) (io.ReadCloser, error) {
			text, ok := texts[path]
			if !ok {
				text, ok = protoKnown[path]
			}
			if !ok {
				return nil, fmt.Errorf("%s is not among the references of the schema", path)
			}
			return io.NopCloser(strings.NewReader(text)), nil
		}}),
	}
	files, err := compiler.Compile(ctx, protoSelf)
	if err != nil {
		return nil, fmt.Errorf("no .proto text: %w", err)
	}
	c := &protoCodec{protoLanguage: l, partial: true}
	all := new(protoregistry.Files)
	if c.file, err = c.adopt(all, files[0]); err != nil {
		return nil, fmt.Errorf("no .proto text: %w", err)
	}
	c.types = dynamicpb.NewTypes(all)
	if c.file.Messages().Len() == 0 {
		return nil, errors.New("the .proto text defines no message")
	}
	c.write = c.file.Messages().Get(0)
	if l.message != "" {
		d, err := all.FindDescriptorByName(protoreflect.FullName(l.message))
		c.write, _ = d.(protoreflect.MessageDescriptor)
		if err != nil || c.write == nil || c.write.ParentFile().Path() != c.file.Path() {
			c.write = nil
		}
	}
	if c.write != nil {
		c.index = indexOf(c.write)
	}
	return c, nil
}

// adopt adds a file and what it imports, in the form of Protobuf's own library: asking the
// compiler's about a field takes several times as long.
func (c *protoCodec) adopt(all *protoregistry.Files, f protoreflect.FileDescriptor) (protoreflect.FileDescriptor, error) {
	if known, err := all.FindFileByPath(f.Path()); err == nil {
		return known, nil
	}
	for i := range f.Imports().Len() {
		if _, err := c.adopt(all, f.Imports().Get(i).FileDescriptor); err != nil {
			return nil, err
		}
	}
	own, err := protodesc.NewFile(protodesc.ToFileDescriptorProto(f), all)
	if err != nil {
		return nil, err
	}
	c.partial = c.partial && !requires(own.Messages())
	return own, all.RegisterFile(own)
}

// requires tells whether a message must have some field.
func requires(list protoreflect.MessageDescriptors) bool {
	for i := range list.Len() {
		m := list.Get(i)
		if m.RequiredNumbers().Len() > 0 || requires(m.Messages()) {
			return true
		}
	}
	return false
}

// resolve decodes with the reader's message of the same name: Protobuf fits messages of one
// version to another by the numbers of their fields.
func (l protoLanguage) resolve(writer, reader codec) (codec, error) {
	if reader == nil {
		return writer, nil
	}
	c := *writer.(*protoCodec)
	c.reader = reader.(*protoCodec)
	if l.message != "" && c.reader.write == nil {
		return nil, c.reader.noMessage(l.message)
	}
	return &c, nil
}

func (c *protoCodec) noMessage(name string) error {
	return fmt.Errorf("the schema defines no message %q; it has %s", name, brief(strings.Join(messageNames(c.file.Messages(), nil), ", "), 200))
}

// messageNames lists the full names of messages and of those in them.
func messageNames(list protoreflect.MessageDescriptors, names []string) []string {
	for i := range list.Len() {
		if m := list.Get(i); !m.IsMapEntry() {
			names = messageNames(m.Messages(), append(names, string(m.FullName())))
		}
	}
	return names
}

func (c *protoCodec) name() string {
	if c.write == nil {
		return ""
	}
	return string(c.write.FullName())
}

func (c *protoCodec) decode(data []byte) (any, error) {
	m, data, err := c.indexed(data)
	if err != nil {
		return nil, err
	}
	from := c
	if c.reader != nil {
		from = c.reader
		name := m.FullName()
		if from.message != "" {
			name = from.write.FullName()
		}
		t, err := from.types.FindMessageByName(name)
		if err != nil {
			return nil, fmt.Errorf("the record is a %s: in the reader schema: %w", name, from.noMessage(string(name)))
		}
		m = t.Descriptor()
	}
	msg := dynamicpb.NewMessage(m)
	if err := (proto.UnmarshalOptions{Resolver: from.types, RecursionLimit: deepestMessage, AllowPartial: from.partial}).Unmarshal(data, msg); err != nil {
		return nil, fmt.Errorf("no %s: %s", m.FullName(), strings.TrimPrefix(strings.ReplaceAll(err.Error(), "\u00a0", " "), "proto: "))
	}
	return protoReader{from}.message(msg)
}

func (c *protoCodec) encode(b []byte, content any) ([]byte, error) {
	if c.write == nil {
		return nil, c.noMessage(c.message)
	}
	if raw, ok := content.([]byte); ok {
		doc, err := parseJSON(raw)
		if err != nil {
			return nil, fmt.Errorf("the message is not structured, and its bytes are no JSON: %w", err)
		}
		content = doc
	}
	msg := dynamicpb.NewMessage(c.write)
	if err := (protoWriter{c}).message(msg, content, 0); err != nil {
		return nil, err
	}
	b, err := proto.MarshalOptions{Deterministic: true, AllowPartial: c.partial}.MarshalAppend(append(b, c.index...), msg)
	if err != nil {
		return nil, fmt.Errorf("%s: %s", c.write.FullName(), strings.TrimPrefix(strings.ReplaceAll(err.Error(), "\u00a0", " "), "proto: "))
	}
	return b, nil
}

// indexed returns which message of the file a record is, and the rest of it: the number of
// steps, and the index of each in the file, or in the message above. A lone 0 is the first.
func (c *protoCodec) indexed(data []byte) (protoreflect.MessageDescriptor, []byte, error) {
	bad := errors.New("the index of its message, behind the schema's id, is cut off or damaged")
	steps, n := binary.Varint(data)
	if n <= 0 || steps < 0 || steps > deepestMessage {
		return nil, nil, bad
	}
	data = data[n:]
	if steps == 0 {
		return c.file.Messages().Get(0), data, nil
	}
	var m protoreflect.MessageDescriptor
	list := c.file.Messages()
	for range steps {
		i, n := binary.Varint(data)
		if n <= 0 {
			return nil, nil, bad
		}
		data = data[n:]
		if m = messageAt(list, i); m == nil {
			in := "the schema"
			if list.Len() > 0 && list.Get(0).Parent() != c.file {
				in = string(list.Get(0).Parent().FullName())
			}
			return nil, nil, fmt.Errorf("it says that it is message %d of %s, which has none of this number", i, in)
		}
		list = m.Messages()
	}
	return m, data, nil
}

// messageAt counts as the .proto text does, where a map field defines no message.
func messageAt(list protoreflect.MessageDescriptors, index int64) protoreflect.MessageDescriptor {
	for i := range list.Len() {
		m := list.Get(i)
		if m.IsMapEntry() {
			continue
		}
		if index == 0 {
			return m
		}
		index--
	}
	return nil
}

// indexOf is the reverse of indexed.
func indexOf(m protoreflect.MessageDescriptor) []byte {
	var path []int64
	for d := protoreflect.Descriptor(m); ; d = d.Parent() {
		parent, ok := d.Parent().(interface {
			Messages() protoreflect.MessageDescriptors
		})
		if !ok {
			break
		}
		index := int64(0)
		for i := range parent.Messages().Len() {
			if e := parent.Messages().Get(i); e.Name() == d.Name() {
				break
			} else if !e.IsMapEntry() {
				index++
			}
		}
		path = append([]int64{index}, path...)
	}
	if len(path) == 1 && path[0] == 0 {
		return []byte{0}
	}
	b := binary.AppendVarint(nil, int64(len(path)))
	for _, i := range path {
		b = binary.AppendVarint(b, i)
	}
	return b
}
