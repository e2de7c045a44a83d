package broker

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/twmb/franz-go/pkg/kfake"
)

// Options of a broker.
type Options struct {
	// Listen is the address to listen on, which clients are told to connect to;
	// port 0 picks a free one.
	Listen string
	// Dir keeps the data; "" keeps it in memory and loses it at Close.
	Dir string
	// Partitions of topics that are created automatically; 0 = 4.
	Partitions int
	// Logger of the broker; nil logs nothing.
	Logger *slog.Logger
}

// Broker is a running broker.
type Broker struct {
	cluster *kfake.Cluster
	// lock keeps other processes out of the folder; nil in memory.
	lock io.Closer
}

// Start starts a broker. It returns an error that names the address or the
// folder if another process uses it.
func Start(o Options) (*Broker, error) {
	host, port, err := parseListen(o.Listen)
	if err != nil {
		return nil, err
	}
	if o.Partitions < 0 {
		return nil, fmt.Errorf("the number of partitions is %d; give one from 1, or 0 for the default", o.Partitions)
	}
	if o.Partitions == 0 {
		o.Partitions = 4
	}
	b := &Broker{}
	opts := []kfake.Opt{
		kfake.Ports(port),
		kfake.ListenFn(func(network, _ string) (net.Listener, error) {
			return net.Listen(network, net.JoinHostPort(host, strconv.Itoa(port)))
		}),
		kfake.AllowAutoTopicCreation(),
		kfake.DefaultNumPartitions(o.Partitions),
		// Retention is applied at this pace; the default is an hour.
		kfake.BrokerConfigs(map[string]string{"log.cleaner.backoff.ms": "15000"}),
	}
	if o.Logger != nil {
		opts = append(opts, kfake.WithLogger(logger{o.Logger}))
	}
	if o.Dir != "" {
		if b.lock, err = lock(o.Dir); err != nil {
			return nil, err
		}
		opts = append(opts, kfake.DataDir(o.Dir))
	}
	if b.cluster, err = kfake.NewCluster(opts...); err != nil {
		return nil, errors.Join(fmt.Errorf("starting the broker on %s with data in %q: %w", o.Listen, o.Dir, err), b.unlock())
	}
	return b, nil
}

func parseListen(address string) (host string, port int, err error) {
	host, service, err := net.SplitHostPort(address)
	if err == nil {
		port, err = strconv.Atoi(service)
	}
	if err != nil {
		return "", 0, fmt.Errorf("reading the address %q to listen on: %w; give host:port, 127.0.0.1:9092 for example", address, err)
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		return "", 0, fmt.Errorf("the address %q to listen on names no host, but clients are told to connect to it; "+
			"give the host that they reach, 127.0.0.1:%d for example", address, port)
	}
	return host, port, nil
}

func lock(dir string) (io.Closer, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("making the folder for the broker's data: %w", err)
	}
	l, err := vfs.Default.Lock(filepath.Join(dir, "broker.lock"))
	if err != nil {
		return nil, fmt.Errorf("locking the folder %q, which a running broker seems to use: %w", dir, err)
	}
	return l, nil
}

func (b *Broker) unlock() error {
	if b.lock == nil {
		return nil
	}
	return b.lock.Close()
}

// Addr is the address that clients connect to.
func (b *Broker) Addr() string { return b.cluster.ListenAddrs()[0] }

// CreateTopic creates a topic unless it is there. Of each partition the newest
// retain bytes are kept, 0 = everything.
func (b *Broker) CreateTopic(topic string, partitions int32, retain int64) error {
	if b.cluster.TopicInfo(topic) != nil {
		return nil
	}
	var conf map[string]string
	if retain > 0 {
		conf = map[string]string{"retention.bytes": strconv.FormatInt(retain, 10)}
	}
	if err := b.cluster.CreateTopic(topic, partitions, conf); err != nil {
		return fmt.Errorf("creating topic %s: %w", topic, err)
	}
	return nil
}

// Close stops the broker and writes what it holds to its folder.
func (b *Broker) Close() error {
	b.cluster.Close()
	return b.unlock()
}

type logger struct{ log *slog.Logger }

// Logf implements kfake.Logger.
func (l logger) Logf(level kfake.LogLevel, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	switch level {
	case kfake.LogLevelError:
		l.log.Error(text)
	case kfake.LogLevelWarn:
		l.log.Warn(text)
	case kfake.LogLevelInfo:
		l.log.Info(text)
	default:
		l.log.Debug(text)
	}
}
