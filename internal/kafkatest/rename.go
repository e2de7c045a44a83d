package kafkatest

import (
	"bytes"
	"fmt"
	"net"
	"slices"
	"strconv"

	"github.com/twmb/franz-go/pkg/kbin"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// namesBrokers tells whether answers of a key may name brokers' addresses. Those to Produce and
// Fetch name the leader to whoever asked one that is not, or not yet: a broker that has just
// started names itself.
func namesBrokers(key kmsg.Key) bool {
	return slices.Contains([]kmsg.Key{kmsg.Metadata, kmsg.FindCoordinator, kmsg.DescribeCluster, kmsg.Produce, kmsg.Fetch}, key)
}

// addressesTail is how much at the end of an answer to a Fetch may hold brokers' addresses.
const addressesTail = 1 << 10

// named tells whether a broker may be named in an answer. Taking every Fetch apart would be
// slow.
func (p *Proxy) named(key kmsg.Key, body []byte) bool {
	if key != kmsg.Fetch {
		return true
	}
	end := body[max(0, len(body)-addressesTail):]
	return slices.ContainsFunc(p.hosts(), func(host string) bool { return bytes.Contains(end, []byte(host)) })
}

// rename puts the proxy's addresses in place of the brokers' in the answer to r.
func (p *Proxy) rename(r Request, body []byte) ([]byte, error) {
	resp, err := parse(r.Key, r.Version, body)
	if r.Key == kmsg.Metadata && r.Version == 1 && (err != nil || len(resp.AppendTo(nil)) != len(body)) {
		resp, err = parse(r.Key, 0, body) // in which brokers before 0.10 answer whatever they are asked in
	}
	if err != nil {
		return nil, fmt.Errorf("reading a %s answer: %w", r.Key.Name(), err)
	}
	put := func(host *string, port *int32) {
		if e := p.readdress(host, port); e != nil {
			err = e
		}
	}
	switch resp := resp.(type) {
	case *kmsg.MetadataResponse:
		for i := range resp.Brokers {
			put(&resp.Brokers[i].Host, &resp.Brokers[i].Port)
		}
	case *kmsg.DescribeClusterResponse:
		for i := range resp.Brokers {
			put(&resp.Brokers[i].Host, &resp.Brokers[i].Port)
		}
	case *kmsg.ProduceResponse:
		for i := range resp.Brokers {
			put(&resp.Brokers[i].Host, &resp.Brokers[i].Port)
		}
	case *kmsg.FetchResponse:
		for i := range resp.Brokers {
			put(&resp.Brokers[i].Host, &resp.Brokers[i].Port)
		}
	case *kmsg.FindCoordinatorResponse:
		put(&resp.Host, &resp.Port)
		for i := range resp.Coordinators {
			put(&resp.Coordinators[i].Host, &resp.Coordinators[i].Port)
		}
	}
	var renamed []byte
	if resp.IsFlexible() {
		renamed = append(renamed, 0)
	}
	return resp.AppendTo(renamed), err
}

func parse(key kmsg.Key, version int16, body []byte) (kmsg.Response, error) {
	resp := kmsg.ResponseForKey(key.Int16())
	resp.SetVersion(version)
	reader := kbin.Reader{Src: body}
	if resp.IsFlexible() {
		kmsg.SkipTags(&reader)
	}
	return resp, resp.ReadFrom(reader.Src)
}

// readdress replaces one broker's address. Answers without a broker (a failed
// look-up of a coordinator) name none.
func (p *Proxy) readdress(host *string, port *int32) error {
	if *host == "" || *port <= 0 {
		return nil
	}
	seed, err := p.frontFor(net.JoinHostPort(*host, strconv.Itoa(int(*port))))
	if err != nil {
		return err
	}
	h, s, err := net.SplitHostPort(seed)
	if err != nil {
		return fmt.Errorf("reading the proxy's own address: %w", err)
	}
	n, err := strconv.ParseInt(s, 10, 32)
	if err != nil {
		return fmt.Errorf("reading the proxy's own address: %w", err)
	}
	*host, *port = h, int32(n)
	return nil
}
