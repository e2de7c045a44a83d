package lintrule

import (
	"bytes"
	"regexp"
)

// variable is how a configuration names an environment variable: ${NAME},
// ${NAME:default}, either with a decoder behind a bar.
var variable = regexp.MustCompile(`\${([0-9A-Za-z_.]+)(:((?:\${[^}]+}|[^}])*))?}`)

// Expand replaces the environment variables in a configuration file as Benthos
// does. One that is not set and has no default is replaced by nothing, one with
// a decoder stays as it is; Benthos's own linter reports both where it must.
func Expand(text []byte, lookup func(string) (string, bool)) []byte {
	return variable.ReplaceAllFunc(text, func(found []byte) []byte {
		m := variable.FindSubmatch(found)
		value, _ := lookup(string(m[1]))
		if value == "" {
			value = string(m[3])
		}
		return bytes.ReplaceAll([]byte(value), []byte("\n"), []byte(`\n`))
	})
}
