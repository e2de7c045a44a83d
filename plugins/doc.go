// Package plugins registers every component of Tidemark with Benthos.
//
// A blank import is all that a build of one's own needs:
//
//	import (
//		_ "github.com/redpanda-data/benthos/v4/public/components/io"
//		_ "github.com/redpanda-data/benthos/v4/public/components/pure"
//		"github.com/tidemarkhq/tidemark/plugins"
//	)
//
//	func main() { plugins.Main() }
//
// The import registers with the global environment; Register does the same for
// a private one. Benthos replaces a component silently when a second one of the
// same name is registered; here that is an error, and in the blank import a
// panic, because a pipeline that reads through the wrong component is found out
// far too late.
//
// # Exit codes
//
// Benthos exits with 0 whenever a stream ended, also after a component gave up.
// Main exits with 1 after a fatal error or a final checkpoint that failed. A
// build that calls service.RunCLI itself asks Failed when that call returns; a
// program on service.StreamBuilder does when Stream.Run returns.
package plugins
