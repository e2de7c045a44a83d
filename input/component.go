package input

import (
	"context"
	"net"

	"github.com/redpanda-data/benthos/v4/public/service"
)

// Register adds the input to an environment. dial opens connections to brokers;
// nil = the operating system's network.
func Register(env *service.Environment, dial func(ctx context.Context, network, host string) (net.Conn, error)) error {
	return env.RegisterBatchInput(Name, Spec(), func(conf *service.ParsedConfig, res *service.Resources) (service.BatchInput, error) {
		c, err := ParseConfig(conf, res)
		if err != nil {
			return nil, err
		}
		if dial != nil {
			c.Connection.Dial = dial
		}
		return construct(c, conf, res)
	})
}

// construct makes the input and wraps it in what Benthos does for inputs that have
// the fields for it.
func construct(c Config, conf *service.ParsedConfig, res *service.Resources) (service.BatchInput, error) {
	s, err := newSource(c, res)
	if err != nil {
		return nil, err
	}
	timely, err := service.ForceTimelyNacksBatched(conf, s)
	if err != nil {
		return nil, err
	}
	return conf.WrapBatchInputExtractTracingSpanMapping(Name, timely)
}
