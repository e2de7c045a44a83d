package kafka

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Role is what a client does; the Java client has properties for either.
type Role uint8

// The roles.
const (
	Consumer Role = 1 << iota
	Producer
)

// String names the role.
func (r Role) String() string {
	if r == Producer {
		return "producer"
	}
	return "consumer"
}

// EnableAutoCommit is the key of Overrides that holds the bool of
// `enable.auto.commit`, which no field of ours means by itself.
const EnableAutoCommit = "enable.auto.commit"

// Overrides are values that `properties` set for fields of a component, by the
// field's dotted path. A value has the type that the component keeps the field
// in: string, []string, int, int64 (bytes), bool, time.Duration or []Credentials.
type Overrides map[string]any

// Override sets dst if o has a value for field.
func Override[T any](o Overrides, field string, dst *T) {
	if v, ok := o[field]; ok {
		*dst = v.(T)
	}
}

// property says what becomes of one property of the Java client.
type property struct {
	roles Role
	// field is where the value goes; empty where apply only judges it.
	field string
	// apply parses the value and puts it into o.
	apply func(value string, o Overrides) error
	// secret tells that the value must not be in a message.
	secret bool
}

// TranslateProperties turns properties of the Java client into values of our
// fields. All faults are reported together, each naming the property, its value
// and the remedy.
func TranslateProperties(props map[string]string, role Role) (Overrides, error) {
	o := make(Overrides)
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(props)) {
		value := strings.TrimSpace(props[name])
		p, ok := lookup(name)
		switch {
		case !ok:
			errs = append(errs, fmt.Errorf("properties: %s is not a property of Kafka's %s that has a counterpart here: remove it", name, role))
		case p.roles&role == 0:
			errs = append(errs, fmt.Errorf("properties: %s is not a property of a %s: remove it", name, role))
		default:
			if err := p.apply(value, o); err != nil {
				errs = append(errs, explain(name, value, p.secret, err))
			}
		}
	}
	if err := combineSASL(o); err != nil {
		errs = append(errs, err)
	}
	return o, errors.Join(errs...)
}

func explain(name, value string, secret bool, err error) error {
	if secret {
		return fmt.Errorf("properties: %s: %w", name, err)
	}
	return fmt.Errorf("properties: %s: %q: %w", name, value, err)
}

func lookup(name string) (property, bool) {
	if p, ok := properties[name]; ok {
		return p, true
	}
	for prefix, remedy := range refusedPrefixes {
		if strings.HasPrefix(name, prefix) {
			return refused(Consumer|Producer, remedy), true
		}
	}
	return property{}, false
}

// into puts the value, parsed, into a field.
func into[T any](roles Role, field string, parse func(string) (T, error)) property {
	return property{roles: roles, field: field, apply: func(value string, o Overrides) error {
		v, err := parse(value)
		if err == nil {
			o[field] = v
		}
		return err
	}}
}

// refused is a property that the client has no setting for.
func refused(roles Role, remedy string) property {
	return property{roles: roles, secret: true, apply: func(string, Overrides) error {
		return fmt.Errorf("this client has no such setting: %s", remedy)
	}}
}

// only accepts the values that say what is done anyway, and refuses all others.
func only(roles Role, remedy string, values ...string) property {
	return property{roles: roles, apply: func(value string, _ Overrides) error {
		if slices.Contains(values, value) {
			return nil
		}
		return errors.New(remedy)
	}}
}

func text(value string) (string, error) {
	if value == "" {
		return "", errors.New("is empty: give it a value or remove it")
	}
	return value, nil
}

func list(value string) ([]string, error) {
	if value == "" {
		return nil, errors.New("is empty: give it a value or remove it")
	}
	return strings.Split(value, ","), nil
}

func millis(value string) (time.Duration, error) {
	n, err := strconv.ParseInt(value, 10, 64)
	if err != nil || n < 0 || n > math.MaxInt64/int64(time.Millisecond) {
		return 0, errors.New("is not a number of milliseconds")
	}
	return time.Duration(n) * time.Millisecond, nil
}

func size(value string) (int64, error) {
	n, err := strconv.ParseInt(value, 10, 64)
	if err != nil || n < 0 {
		return 0, errors.New("is not a number of bytes")
	}
	return n, nil
}

func count(value string) (int, error) {
	n, err := strconv.ParseInt(value, 10, 32)
	if err != nil || n < 0 {
		return 0, errors.New("is not a number from 0 to 2147483647")
	}
	return int(n), nil
}

func yes(value string) (bool, error) {
	switch strings.ToLower(value) {
	case "true":
		return true, nil
	case "false":
		return false, nil
	}
	return false, errors.New("is neither true nor false")
}

// retries keeps Java's largest number, which means no limit there as 0 does here.
func retries(value string) (int, error) {
	n, err := count(value)
	switch {
	case err != nil:
		return 0, err
	case n == math.MaxInt32:
		return 0, nil
	case n == 0:
		return 0, errors.New("no retries at all lose records: use 1 or more, or remove it")
	}
	return n, nil
}

// oneOf maps the values that Java knows to those of our field.
func oneOf(values map[string]string) func(string) (string, error) {
	return func(value string) (string, error) {
		if v, ok := values[value]; ok {
			return v, nil
		}
		if v, ok := values[strings.ToLower(value)]; ok {
			return v, nil
		}
		return "", fmt.Errorf("is not supported: use one of %s", strings.Join(slices.Sorted(maps.Keys(values)), ", "))
	}
}

func same(values ...string) map[string]string {
	m := make(map[string]string, len(values))
	for _, v := range values {
		m[v] = v
	}
	return m
}

const (
	saslMechanism = "sasl.mechanism"
	saslJAAS      = "sasl.jaas.config"
	tlsEnabled    = "tls.enabled"
	saslField     = "sasl"
)

func securityProtocol(value string, o Overrides) error {
	switch strings.ToUpper(value) {
	case "PLAINTEXT":
		o[tlsEnabled], o[saslField] = false, []Credentials{}
	case "SSL":
		o[tlsEnabled], o[saslField] = true, []Credentials{}
	case "SASL_PLAINTEXT":
		o[tlsEnabled] = false
	case "SASL_SSL":
		o[tlsEnabled] = true
	default:
		return errors.New("is not supported: use one of PLAINTEXT, SASL_PLAINTEXT, SASL_SSL, SSL")
	}
	return nil
}

var jaasOption = regexp.MustCompile(`(\w+)\s*=\s*"((?:[^"\\]|\\.)*)"`)

// combineSASL makes credentials of the two properties that Java splits them into.
// No message here holds a part of the JAAS text: it has the password in it.
func combineSASL(o Overrides) error {
	mechanism, _ := o[saslMechanism].(string)
	jaas, hasJAAS := o[saslJAAS].(string)
	_, noSASL := o[saslField]
	delete(o, saslMechanism)
	delete(o, saslJAAS)
	switch {
	case noSASL || mechanism == "" && !hasJAAS:
		return nil
	case !hasJAAS:
		return fmt.Errorf("properties: %s: %q needs %s; or use the field `sasl` for both", saslMechanism, mechanism, saslJAAS)
	}
	module, options, _ := strings.Cut(strings.TrimSpace(jaas), " ")
	plain := strings.HasSuffix(module, ".PlainLoginModule")
	scram := strings.HasSuffix(module, ".ScramLoginModule")
	if mechanism == "" && plain {
		mechanism = SASLPlain
	}
	if !(plain && mechanism == SASLPlain || scram && (mechanism == SASLScram256 || mechanism == SASLScram512)) {
		return fmt.Errorf("properties: %s: the login module %s does not go with the mechanism %q: use PlainLoginModule with PLAIN, "+
			"ScramLoginModule with SCRAM-SHA-256 or SCRAM-SHA-512, or the field `sasl`", saslJAAS, module, mechanism)
	}
	c := Credentials{Mechanism: mechanism}
	for _, m := range jaasOption.FindAllStringSubmatch(options, -1) {
		value := strings.NewReplacer(`\"`, `"`, `\\`, `\`).Replace(m[2])
		switch m[1] {
		case "username":
			c.Username = value
		case "password":
			c.Password = value
		}
	}
	if c.Username == "" {
		return fmt.Errorf("properties: %s has no username=\"…\"", saslJAAS)
	}
	o[saslField] = []Credentials{c}
	return nil
}
