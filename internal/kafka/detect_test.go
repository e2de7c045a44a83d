package kafka_test

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/tidemarkhq/tidemark/internal/kafka"
	"github.com/tidemarkhq/tidemark/internal/kafkatest"
)

// manner is what a broker does with a request.
type manner int

const (
	answers manner = iota
	answersOld
	closes
	silent
)

// imitation is a broker that knows how to treat requests by their key, and no more.
func imitation(t *testing.T, of func(key kmsg.Key, nth int64) manner) (addr string, asked *atomic.Int64) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	asked = new(atomic.Int64)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go serveImitation(conn, of, asked.Add(1))
		}
	}()
	return l.Addr().String(), asked
}

func serveImitation(conn net.Conn, of func(kmsg.Key, int64) manner, nth int64) {
	defer conn.Close()
	head := make([]byte, 6)
	if _, err := io.ReadFull(conn, head); err != nil {
		return
	}
	_, _ = io.CopyN(io.Discard, conn, int64(binary.BigEndian.Uint32(head))-2)
	key := kmsg.Key(binary.BigEndian.Uint16(head[4:]))
	how := of(key, nth)
	switch how {
	case closes:
		return
	case silent:
		_, _ = io.Copy(io.Discard, conn)
		return
	}
	body := binary.BigEndian.AppendUint32(nil, 0) // correlation id
	switch key {
	case kmsg.Metadata:
		resp := kmsg.NewPtrMetadataResponse()
		resp.Version = 1
		resp.Brokers = []kmsg.MetadataResponseBroker{{NodeID: 1, Host: "localhost", Port: 9092}}
		if how == answersOld {
			resp.Version = 0
			resp.Topics = []kmsg.MetadataResponseTopic{{Topic: kmsg.StringPtr("t")}}
		}
		body = append(body, resp.AppendTo(nil)...)
	case kmsg.ApiVersions:
		resp := kmsg.NewPtrApiVersionsResponse()
		kversion.V0_10_0().EachMaxKeyVersion(func(k, v int16) {
			resp.ApiKeys = append(resp.ApiKeys, kmsg.ApiVersionsResponseApiKey{ApiKey: k, MaxVersion: v})
		})
		body = append(body, resp.AppendTo(nil)...)
	}
	_, _ = conn.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(body))), body...))
}

func learn(t *testing.T, seeds ...string) (*kafka.Brokers, time.Duration) {
	t.Helper()
	b, err := kafka.ParseBrokers("")
	require.NoError(t, err)
	began := time.Now()
	kafka.Connection{SeedBrokers: seeds, Brokers: b}.Learn(context.Background())
	return b, time.Since(began)
}

func TestLearnTellsOldBrokersFromOthers(t *testing.T) {
	for name, test := range map[string]struct {
		of   func(kmsg.Key, int64) manner
		want string
	}{
		"0.8": {func(key kmsg.Key, _ int64) manner {
			if key == kmsg.Metadata {
				return answersOld
			}
			return closes
		}, "0.8.2"},
		"0.9": {func(key kmsg.Key, _ int64) manner {
			if key == kmsg.ApiVersions {
				t.Error("it was asked for its versions, and loses requests of other clients")
			}
			return answersOld
		}, "0.9.0"},
		"0.9 that was ending": {func(_ kmsg.Key, nth int64) manner {
			if nth == 2 {
				return closes
			}
			return answersOld
		}, "0.9.0"},
		"0.10": {func(kmsg.Key, int64) manner { return answers }, "0.10.0"},
		"one that wants to know who we are": {func(key kmsg.Key, _ int64) manner {
			if key == kmsg.Metadata {
				return closes
			}
			return answers
		}, "0.10.0"},
		// Others behind the same address, or the same one a moment later.
		"a new one that was starting": {func(_ kmsg.Key, nth int64) manner {
			if nth == 1 {
				return closes
			}
			return answers
		}, "0.10.0"},
		"an old one that ends for good": {func(_ kmsg.Key, nth int64) manner {
			if nth > 1 {
				return closes
			}
			return answersOld
		}, ""},
		"one that refuses us":   {func(kmsg.Key, int64) manner { return closes }, ""},
		"one that says nothing": {func(kmsg.Key, int64) manner { return silent }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			addr, _ := imitation(t, test.of)
			b, took := learn(t, addr)
			assert.Equal(t, test.want, b.Version())
			assert.Less(t, took, 10*time.Second)
			dead, err := net.Listen("tcp", "127.0.0.1:0")
			require.NoError(t, err)
			require.NoError(t, dead.Close())
			b, _ = learn(t, dead.Addr().String(), addr)
			assert.Equal(t, test.want, b.Version(), "behind one that is down")
		})
	}
}

func TestLearnAsksOnce(t *testing.T) {
	addr, asked := imitation(t, func(kmsg.Key, int64) manner { return answers })
	b, err := kafka.ParseBrokers("")
	require.NoError(t, err)
	c := kafka.Connection{SeedBrokers: []string{addr}, Brokers: b}
	for range 3 {
		c.Learn(t.Context())
	}
	assert.Equal(t, int64(2), asked.Load())

	stated, err := kafka.ParseBrokers("0.9")
	require.NoError(t, err)
	kafka.Connection{SeedBrokers: []string{addr}, Brokers: stated}.Learn(t.Context())
	kafka.Connection{SeedBrokers: []string{addr}}.Learn(t.Context())
	assert.Equal(t, int64(2), asked.Load())
}

func TestLearnUsesTheClientID(t *testing.T) {
	p := kafkatest.NewProxy(t, kafkatest.Fake(t))
	b, err := kafka.ParseBrokers("")
	require.NoError(t, err)
	kafka.Connection{SeedBrokers: p.Seeds(), Brokers: b, ClientID: "mine"}.Learn(t.Context())
	assert.NotEmpty(t, b.Version())
	assert.False(t, b.Lack(kafka.Headers))
	assert.Equal(t, map[kafkatest.Request]int{{Key: kmsg.Metadata, Version: 1, ClientID: "mine"}: 1, {Key: kmsg.ApiVersions, ClientID: "mine"}: 1}, p.Requests())
}
