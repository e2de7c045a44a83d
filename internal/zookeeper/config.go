package zookeeper

import (
	"context"
	"errors"
	"fmt"
	"net"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Config says where offsets are.
type Config struct {
	// Connect is host:port,host:port/chroot, as Kafka's zookeeper.connect.
	Connect string
	// User and Password of digest authentication; without a user there is none.
	User, Password string
	// Group whose offsets they are.
	Group string
	// Dial opens connections; nil = the operating system's network.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Debugf is told what the client does; nil = nobody is.
	Debugf func(format string, args ...any)
}

// sessionTimeout is how long ZooKeeper remembers a client that is silent; nothing of ours
// depends on it. dialTimeout bounds one attempt to connect.
const (
	sessionTimeout = 10 * time.Second
	dialTimeout    = 5 * time.Second
)

// DefaultPort is what a host without a port means.
const DefaultPort = 2181

// chroot is a path of ZooKeeper, without a slash at its end.
var chroot = regexp.MustCompile(`^(/[^/\x00-\x1f]+)*$`)

// ParseConnect splits host:port,host:port/chroot.
func ParseConnect(text string) (servers []string, root string, err error) {
	hosts, path, rooted := strings.Cut(strings.TrimSpace(text), "/")
	if rooted {
		root = strings.TrimRight("/"+path, "/")
	}
	if !chroot.MatchString(root) {
		return nil, "", fmt.Errorf("%q is not a path of ZooKeeper: use one such as /kafka", root)
	}
	for _, host := range strings.Split(hosts, ",") {
		if host = strings.TrimSpace(host); host == "" {
			continue
		}
		server, err := withPort(host)
		if err != nil {
			return nil, "", fmt.Errorf("%q is not an address of the form host:port: %w", host, err)
		}
		servers = append(servers, server)
	}
	if len(servers) == 0 {
		return nil, "", fmt.Errorf("%q names no server: use host:port,host:port/chroot", text)
	}
	return servers, root, nil
}

func withPort(host string) (string, error) {
	name, port, err := net.SplitHostPort(host)
	if err != nil {
		if strings.Contains(host, ":") && net.ParseIP(strings.Trim(host, "[]")) == nil {
			return "", err
		}
		return net.JoinHostPort(strings.Trim(host, "[]"), strconv.Itoa(DefaultPort)), nil
	}
	if name == "" {
		return "", errors.New("the host is missing")
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return "", fmt.Errorf("port %q is not a number from 1 to 65535", port)
	}
	return host, nil
}

// Validate reports what is wrong with the configuration.
func (c Config) Validate() error {
	var errs []error
	if _, _, err := ParseConnect(c.Connect); err != nil {
		errs = append(errs, err)
	}
	if strings.ContainsAny(c.Group, "/") || c.Group == "." || c.Group == ".." || c.Group == "" {
		errs = append(errs, fmt.Errorf("the group %q cannot be a node of ZooKeeper: use another name, without a slash", c.Group))
	}
	return errors.Join(errs...)
}
