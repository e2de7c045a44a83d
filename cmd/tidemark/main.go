package main

import (
	"fmt"
	"os"
	"runtime/debug"

	_ "github.com/redpanda-data/benthos/v4/public/components/io"
	_ "github.com/redpanda-data/benthos/v4/public/components/pure"
	"github.com/redpanda-data/benthos/v4/public/service"

	"github.com/tidemarkhq/tidemark/cmd/tidemark/internal/broker"
	"github.com/tidemarkhq/tidemark/cmd/tidemark/internal/demo"
	"github.com/tidemarkhq/tidemark/cmd/tidemark/internal/prometheus"
	"github.com/tidemarkhq/tidemark/plugins"
)

// gcPercent trades memory for time, as GOGC does, which overrides it. Every record
// is a handful of small objects that live for milliseconds, so that collecting
// them takes a fifth of a copy's time with Go's default of 100; what lives for
// longer is small: fetched and buffered records, some 60 MiB.
const gcPercent = 400

func main() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	if err := prometheus.Register(service.GlobalEnvironment()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	version, built := stamp()
	plugins.Main(
		service.CLIOptSetBinaryName("tidemark"),
		service.CLIOptSetProductName("Tidemark"),
		service.CLIOptSetDocumentationURL("https://github.com/tidemarkhq/tidemark"),
		service.CLIOptSetVersion(version, built),
		service.CLIOptSetDefaultConfigPaths("/tidemark.yaml", "/etc/tidemark/config.yaml", "/etc/tidemark.yaml"),
		service.CLIOptAddCommand(demo.Command()),
		service.CLIOptAddCommand(broker.Command()),
	)
}

// stamp is the version of this module and the time of its last change, as far
// as the build knows them.
func stamp() (version, built string) {
	version, built = "unknown", "unknown"
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return version, built
	}
	if info.Main.Version != "" {
		version = info.Main.Version
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.time" {
			built = s.Value
		}
	}
	return version, built
}
