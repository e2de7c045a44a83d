package plugins

import (
	"github.com/tidemarkhq/tidemark/input"
	"github.com/tidemarkhq/tidemark/output"
)

// registrars lists the packages that have components.
var registrars = []registrar{
	input.Register,
	output.Register,
}
