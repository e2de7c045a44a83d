package kafka

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kbin"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"
)

// How long Learn takes at most to connect to a broker, and for an answer.
const (
	learnDial   = 2 * time.Second
	learnAnswer = time.Second
)

// Learn finds out what the brokers can do, unless that is known. A client cannot: those of
// 0.8 close the connection when they are asked, those of 0.9 never answer, and lose what
// other clients have sent them at that moment. So it asks over connections of its own, and
// first something that old brokers can bear. It says nothing of what it could not reach: see
// Probe.
func (c Connection) Learn(ctx context.Context) {
	if c.Brokers.known() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, learnDial+5*learnAnswer)
	defer cancel()
	for _, seed := range c.SeedBrokers {
		// One after the other: most of the time the first one is enough.
		if c.learnFrom(ctx, withPort(seed)) || ctx.Err() != nil {
			return
		}
	}
}

// CheckSASL returns an error if the brokers are too old for the way in which the client
// authenticates. They end a connection on which they are asked for what they can do, so it is
// only known of those whose version was stated.
func (c Connection) CheckSASL() error {
	if len(c.SASL) == 0 {
		return nil
	}
	return c.Brokers.Meet(Requirement{"sasl is set", SASLHandshake, "remove it"})
}

// withPort adds the port that a client adds.
func withPort(addr string) string {
	if _, _, err := net.SplitHostPort(addr); err == nil {
		return addr
	}
	return net.JoinHostPort(strings.Trim(addr, "[]"), "9092")
}

// The requests that tell versions apart.
func asksVersions() kmsg.Request { r := kmsg.NewPtrApiVersionsRequest(); r.Version = 0; return r }
func asksGroups() kmsg.Request   { r := kmsg.NewPtrListGroupsRequest(); r.Version = 0; return r }

// asksNoTopics asks for the brokers, in the version that 0.10 has brought. Those before ignore
// that, and answer in the old one.
func asksNoTopics() kmsg.Request {
	r := kmsg.NewPtrMetadataRequest()
	r.Version, r.Topics = 1, []kmsg.MetadataRequestTopic{}
	return r
}

// learnFrom asks one broker, and tells whether it has learnt anything.
func (c Connection) learnFrom(ctx context.Context, addr string) bool {
	// Before it knows who we are a broker takes no other question than the last one.
	if len(c.SASL) == 0 {
		body, err := c.ask(ctx, addr, asksNoTopics())
		switch {
		case err == nil && isOld(body):
			return c.learnOld(ctx, addr)
		case err != nil && !closed(err):
			return false
		}
	}
	body, err := c.ask(ctx, addr, asksVersions())
	return err == nil && c.learnVersions(body)
}

// learnOld tells 0.9 from 0.8, which knows no groups and closes the connection.
//
// A broker that is ending closes it as well, and what is learnt is never asked again. So it asks
// once more, after an answer has shown that the broker is well.
func (c Connection) learnOld(ctx context.Context, addr string) bool {
	for range 2 {
		_, err := c.ask(ctx, addr, asksGroups())
		if err == nil {
			c.Brokers.learnt(kversion.V0_9_0(), "0.9.0", true)
			return true
		}
		if !closed(err) {
			return false
		}
		if body, err := c.ask(ctx, addr, asksNoTopics()); err != nil || !isOld(body) {
			return false
		}
	}
	c.Brokers.learnt(before09(), "0.8.2", true)
	return true
}

// isOld tells an answer of version 0 to asksNoTopics from one of version 1.
func isOld(body []byte) bool {
	resp := kmsg.NewPtrMetadataResponse()
	resp.Version = 1
	if resp.ReadFrom(body) == nil && len(resp.Topics) == 0 && bytes.Equal(resp.AppendTo(nil), body) {
		return false
	}
	b := kbin.Reader{Src: body}
	for range b.ArrayLen() {
		b.Int32() // id
		host, port := b.String(), b.Int32()
		if host == "" || port < 1 || port > 65535 {
			return false
		}
	}
	return b.Ok()
}

// closed tells that the other side has ended the connection rather than answer.
func closed(err error) bool {
	var op *net.OpError
	return errors.Is(err, io.EOF) || errors.As(err, &op) && !op.Timeout() && op.Op != "dial"
}

// learnVersions reads the answer to asksVersions.
func (c Connection) learnVersions(body []byte) bool {
	resp := kmsg.NewPtrApiVersionsResponse()
	resp.Version = 0
	if err := resp.ReadFrom(body); err != nil || resp.ErrorCode != 0 || len(resp.ApiKeys) == 0 {
		return false
	}
	can := kversion.FromApiVersionsResponse(resp)
	guess := can.VersionGuess()
	c.Brokers.learnt(can, strings.TrimPrefix(guess, "v"), false)
	return true
}

// mostAnswered bounds what is read of an answer. Only that of an old broker with very many topics
// is larger, and the beginning shows what it is.
const mostAnswered = 1 << 20

// ask sends one request over a connection of its own.
func (c Connection) ask(ctx context.Context, addr string, req kmsg.Request) ([]byte, error) {
	dialling, cancel := context.WithTimeout(ctx, learnDial)
	conn, err := c.dialer()(dialling, "tcp", addr)
	cancel()
	if err != nil {
		return nil, fmt.Errorf("connecting to %s: %w", addr, noEOF(err))
	}
	defer conn.Close()
	ctx, over := context.WithTimeout(ctx, learnAnswer)
	defer over()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	body, err := exchange(conn, req, cmp.Or(c.ClientID, DefaultClientID))
	if err != nil && ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return body, err
}

// noEOF is for a handshake that the other side has ended: it is no answer to a request.
func noEOF(err error) error { return fmt.Errorf("%v", err) } //nolint:errorlint // that is the purpose

// exchange writes a request and reads the answer, of a longer one the beginning.
func exchange(conn io.ReadWriter, req kmsg.Request, clientID string) ([]byte, error) {
	msg := kbin.AppendInt16(make([]byte, 4), req.Key())
	msg = kbin.AppendInt16(msg, req.GetVersion())
	msg = kbin.AppendInt32(msg, 0) // correlation id
	msg = kbin.AppendString(msg, clientID)
	msg = req.AppendTo(msg)
	binary.BigEndian.PutUint32(msg, uint32(len(msg)-4))
	if _, err := conn.Write(msg); err != nil {
		return nil, err
	}
	var head [8]byte
	if _, err := io.ReadFull(conn, head[:]); err != nil {
		if errors.Is(err, io.ErrUnexpectedEOF) {
			return nil, errors.New("the answer is cut off")
		}
		return nil, err
	}
	size := int32(binary.BigEndian.Uint32(head[:4]))
	if size < 4 || binary.BigEndian.Uint32(head[4:]) != 0 {
		return nil, errors.New("the answer is not one of Kafka's")
	}
	body := make([]byte, min(size-4, mostAnswered))
	if _, err := io.ReadFull(conn, body); err != nil {
		return nil, errors.New("the answer is cut off")
	}
	return body, nil
}
