package engine

import (
	"strings"

	"github.com/redpanda-data/benthos/v4/public/service"
)

// Name returns the name that a component joins under: its label, else its path.
func Name(res *service.Resources) string {
	if l := res.Label(); l != "" {
		return l
	}
	return strings.Join(res.Path(), ".")
}
