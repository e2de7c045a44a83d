package main

import (
	"github.com/redpanda-data/benthos/v4/public/service"

	"github.com/tidemarkhq/tidemark/checkpoint"
	"github.com/tidemarkhq/tidemark/internal/engine"
)

// coordinator finds the stream's coordinator.
func coordinator(res *service.Resources) checkpoint.Coordinator { return engine.For(res) }
