package connection

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/redpanda-data/benthos/v4/public/utils/netutil"

	"github.com/tidemarkhq/tidemark/internal/kafka"
)

// Parse turns the fields, and what over sets instead, into a connection that logs
// and counts through res. All faults are reported together.
func Parse(conf *service.ParsedConfig, res *service.Resources, over kafka.Overrides) (kafka.Connection, error) {
	var c kafka.Connection
	var errs []error
	check := func(err error) {
		if err != nil {
			errs = append(errs, err)
		}
	}
	var err error
	c.SeedBrokers, err = seedBrokers(conf, over)
	check(err)
	c.ClientID, err = conf.FieldString(FieldClientID)
	check(err)
	kafka.Override(over, FieldClientID, &c.ClientID)
	if len(c.ClientID) > 256 {
		check(fmt.Errorf("%s is %d bytes long: use at most 256", FieldClientID, len(c.ClientID)))
	}
	c.Brokers, err = brokers(conf)
	check(err)
	c.TLS, err = tlsConfig(conf, over)
	check(err)
	c.Credentials, c.SASL, err = credentials(conf, over)
	check(err)
	check(c.CheckSASL())
	check(duration(conf, over, FieldMetadataMaxAge, 10*time.Millisecond, time.Hour, &c.MetadataMaxAge))
	check(duration(conf, over, FieldRequestTimeoutOverhead, 100*time.Millisecond, 15*time.Minute, &c.RequestTimeoutOverhead))
	check(duration(conf, over, FieldConnIdleTimeout, 100*time.Millisecond, 15*time.Minute, &c.ConnIdleTimeout))
	check(dialer(conf, over, &c))
	c.Logger = NewLogger(res.Logger())
	metrics, err := conf.FieldBool(FieldClientMetrics)
	check(err)
	if metrics {
		c.Hooks = append(c.Hooks, newClientMetrics(res.Metrics()))
	}
	c.Hooks = append(c.Hooks, newWatch(res, c.SASL))
	return c, errors.Join(errs...)
}

// Overrides translates the `properties` of a consumer or a producer.
func Overrides(conf *service.ParsedConfig, role kafka.Role) (kafka.Overrides, error) {
	props, err := conf.FieldStringMap(FieldProperties)
	if err != nil {
		return nil, err
	}
	return kafka.TranslateProperties(props, role)
}

func brokers(conf *service.ParsedConfig) (*kafka.Brokers, error) {
	version, err := conf.FieldString(FieldKafkaVersion)
	if err != nil {
		return nil, err
	}
	b, err := kafka.ParseBrokers(strings.TrimSpace(version))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", FieldKafkaVersion, err)
	}
	return b, nil
}

func seedBrokers(conf *service.ParsedConfig, over kafka.Overrides) ([]string, error) {
	var items []string
	if conf.Contains(FieldSeedBrokers) {
		var err error
		if items, err = conf.FieldStringList(FieldSeedBrokers); err != nil {
			return nil, err
		}
	}
	kafka.Override(over, FieldSeedBrokers, &items)
	var seeds []string
	for _, item := range items {
		for _, seed := range strings.Split(item, ",") {
			if seed = strings.TrimSpace(seed); seed == "" {
				continue
			}
			if err := checkAddress(seed); err != nil {
				return nil, fmt.Errorf("%s: %q is not an address of the form host:port: %w", FieldSeedBrokers, seed, err)
			}
			seeds = append(seeds, seed)
		}
	}
	if len(seeds) == 0 {
		return nil, fmt.Errorf("%s is empty: name at least one broker, such as localhost:9092", FieldSeedBrokers)
	}
	return seeds, nil
}

// checkAddress accepts what the client accepts: host, host:port, [v6]:port, v6.
func checkAddress(addr string) error {
	if !strings.Contains(addr, ":") || net.ParseIP(strings.Trim(addr, "[]")) != nil {
		return nil
	}
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return err
	}
	if host == "" {
		return errors.New("the host is missing")
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return fmt.Errorf("port %q is not a number from 1 to 65535", port)
	}
	return nil
}

func tlsConfig(conf *service.ParsedConfig, over kafka.Overrides) (*tls.Config, error) {
	c, enabled, err := conf.FieldTLSToggled(FieldTLS)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", FieldTLS, err)
	}
	was := enabled
	kafka.Override(over, FieldTLS+".enabled", &enabled)
	if !enabled {
		return nil, nil
	}
	if !was {
		if c, err = conf.FieldTLS(FieldTLS); err != nil {
			return nil, fmt.Errorf("reading %s: %w", FieldTLS, err)
		}
		if c == nil {
			c = &tls.Config{MinVersion: tls.VersionTLS12}
		}
	}
	return c, nil
}

func duration(conf *service.ParsedConfig, over kafka.Overrides, field string, least, most time.Duration, dst *time.Duration) error {
	v, err := conf.FieldDuration(field)
	if err != nil {
		return fmt.Errorf("%s: %w", field, err)
	}
	kafka.Override(over, field, &v)
	if v < least || v > most {
		return fmt.Errorf("%s is %v: use a value from %v to %v", field, v, least, most)
	}
	*dst = v
	return nil
}

func dialer(conf *service.ParsedConfig, over kafka.Overrides, c *kafka.Connection) error {
	var tcp netutil.DialerConfig
	if conf.Contains(FieldTCP) {
		var err error
		if tcp, err = netutil.DialerConfigFromParsed(conf.Namespace(FieldTCP)); err != nil {
			return fmt.Errorf("reading %s: %w", FieldTCP, err)
		}
	}
	kafka.Override(over, FieldTCP+".connect_timeout", &tcp.Timeout)
	if tcp.Timeout < 0 {
		return fmt.Errorf("%s.connect_timeout is %v: use 0s or more", FieldTCP, tcp.Timeout)
	}
	c.DialTimeout = tcp.Timeout
	var d net.Dialer
	if err := netutil.DecorateDialer(&d, tcp); err != nil {
		return fmt.Errorf("%s: %w", FieldTCP, err)
	}
	c.Dial = d.DialContext
	return nil
}
