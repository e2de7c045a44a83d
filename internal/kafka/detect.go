package kafka

import (
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

// How long Learn takes at most to connect to a broker, and how long a broker may be silent
// until it is asked something else, and until it is given up.
const (
	learnDial   = 2 * time.Second
	learnSilent = 500 * time.Millisecond
	learnAnswer = time.Second
)

// Learn finds out what the brokers can do, unless that is known. A client cannot: those of
// 0.8 close the connection when they are asked, those of 0.9 never answer. So it asks over
// connections of its own, first what every broker from 0.10 on answers, which takes one
// round trip. It says nothing of what it could not reach: see Probe.
func (c Connection) Learn(ctx context.Context) {
	if c.Brokers.known() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, learnDial+learnSilent+2*learnAnswer)
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

// asksTopics asks for all of them: a name would create it.
func asksTopics() kmsg.Request { r := kmsg.NewPtrMetadataRequest(); r.Version = 0; return r }

// reply is what came of a request.
type reply struct {
	body []byte
	err  error
}

// learnFrom asks one broker, and tells whether it has learnt anything.
//
// An answer of a broker that is starting or ending, or of another one behind the same
// address, must not be taken for that of an old one: what is learnt is never asked again.
// So before it takes a broker for an old one it asks once more for the versions, after an
// answer has shown that the broker is well.
func (c Connection) learnFrom(ctx context.Context, addr string) bool {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	versions := c.ask(ctx, addr, asksVersions(), 0)
	var first reply
	select {
	case first = <-versions:
	case <-time.After(learnSilent):
		return c.learnSilent(ctx, addr, versions)
	case <-ctx.Done():
		return false
	}
	switch {
	case first.err == nil:
		return c.learnVersions(first.body)
	case !errors.Is(first.err, io.EOF) && !reset(first.err):
		return false // not reached
	}
	if topics := <-c.ask(ctx, addr, asksTopics(), learnAnswer); topics.err != nil {
		return false
	}
	again := <-c.ask(ctx, addr, asksVersions(), learnAnswer)
	switch {
	case again.err == nil:
		return c.learnVersions(again.body)
	case errors.Is(again.err, io.EOF) || reset(again.err):
		c.Brokers.learnt(before09(), "0.8.2", true)
		return true
	}
	return false
}

// learnSilent goes on when the broker does not say what it can do.
func (c Connection) learnSilent(ctx context.Context, addr string, versions <-chan reply) bool {
	groups := c.ask(ctx, addr, asksGroups(), 0)
	wait := time.After(learnAnswer)
	for well := false; ; {
		select {
		case r := <-versions:
			return r.err == nil && c.learnVersions(r.body)
		case r := <-groups:
			if r.err != nil {
				return false
			}
			// The broker is well, and what was asked first had more than its time.
			well, groups, wait = true, nil, time.After(learnAnswer)
			again := c.ask(ctx, addr, asksVersions(), 0)
			was := versions
			versions = either(ctx, was, again)
		case <-wait:
			if well {
				c.Brokers.learnt(kversion.V0_9_0(), "0.9.0", true)
			}
			return well
		case <-ctx.Done():
			return false
		}
	}
}

// either returns the first of two replies.
func either(ctx context.Context, a, b <-chan reply) <-chan reply {
	first := make(chan reply, 1)
	go func() {
		select {
		case r := <-a:
			first <- r
		case r := <-b:
			first <- r
		case <-ctx.Done():
		}
	}()
	return first
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

// reset tells a connection that the other side has ended with something unread.
func reset(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && !op.Timeout() && op.Op != "dial"
}

// ask sends one request over a connection of its own. The channel gets one reply; within, if
// above 0, bounds the time after the connection was made, and otherwise ctx alone.
func (c Connection) ask(ctx context.Context, addr string, req kmsg.Request, within time.Duration) <-chan reply {
	done := make(chan reply, 1)
	go func() {
		body, err := c.exchange(ctx, addr, req, within)
		done <- reply{body, err}
	}()
	return done
}

// most bounds what is read of an answer: that of asksVersions is far smaller.
const mostAnswered = 64 << 10

func (c Connection) exchange(ctx context.Context, addr string, req kmsg.Request, within time.Duration) ([]byte, error) {
	dialling, cancel := context.WithTimeout(ctx, learnDial)
	conn, err := c.dialer()(dialling, "tcp", addr)
	cancel()
	if err != nil {
		return nil, fmt.Errorf("connecting to %s: %w", addr, noEOF(err))
	}
	defer conn.Close()
	if within > 0 {
		var over context.CancelFunc
		ctx, over = context.WithTimeout(ctx, within)
		defer over()
	}
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	body, err := exchange(conn, req, cmp.Or(c.ClientID, DefaultClientID))
	if err != nil && ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return body, err
}

// noEOF is for a handshake that the other side has ended: it is no answer to a request.
func noEOF(err error) error { return fmt.Errorf("%v", err) } //nolint:errorlint // that is the purpose

// exchange writes a request of version 0 and reads the answer, of a longer one the beginning.
func exchange(conn io.ReadWriter, req kmsg.Request, clientID string) ([]byte, error) {
	msg := kbin.AppendInt16(make([]byte, 4), req.Key())
	msg = kbin.AppendInt16(msg, 0) // version
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
