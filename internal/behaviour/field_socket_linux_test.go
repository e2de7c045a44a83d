package behaviour

import (
	"context"
	"net"
	"syscall"
	"testing"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/require"

	"github.com/tidemarkhq/tidemark/internal/connection"
	"github.com/tidemarkhq/tidemark/internal/kafka"
)

// parsedConnection reads the fields that both components share.
func parsedConnection(t *testing.T, yaml string) kafka.Connection {
	t.Helper()
	parsed, err := service.NewConfigSpec().Fields(connection.Fields()...).ParseYAML("seed_brokers: [ localhost ]\n"+yaml, nil)
	require.NoError(t, err)
	c, err := connection.Parse(parsed, service.MockResources(), nil)
	require.NoError(t, err)
	return c
}

// The system is asked what a connection has; tcpUserTimeout has no name in syscall.
func TestFieldsOfTheSocket(t *testing.T) {
	const tcpUserTimeout = 18
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	for yaml, want := range map[string]struct{ option, value int }{
		"tcp: { keep_alive: { idle: 77s } }":     {syscall.TCP_KEEPIDLE, 77},
		"tcp: { keep_alive: { interval: 33s } }": {syscall.TCP_KEEPINTVL, 33},
		"tcp: { keep_alive: { count: 4 } }":      {syscall.TCP_KEEPCNT, 4},
		"tcp: { tcp_user_timeout: 9s }":          {tcpUserTimeout, 9000},
	} {
		conn, err := parsedConnection(t, yaml).Dial(context.Background(), "tcp", l.Addr().String())
		require.NoError(t, err)
		raw, err := conn.(*net.TCPConn).SyscallConn()
		require.NoError(t, err)
		var got int
		require.NoError(t, raw.Control(func(fd uintptr) {
			got, err = syscall.GetsockoptInt(int(fd), syscall.IPPROTO_TCP, want.option)
		}))
		require.NoError(t, err)
		require.Equal(t, want.value, got, yaml)
		require.NoError(t, conn.Close())
	}
}
