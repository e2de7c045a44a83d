// Package lintrule holds the rules that a stream's configuration as a whole must
// keep. Benthos lints one component at a time and cannot see two of them; what
// one component can see by itself is a rule of its own specification.
//
//	findings, err := lintrule.CheckYAML(file)
//	findings, err := lintrule.Check(conf) // a parsed configuration
//
// A finding is an error, which must keep a stream from starting, or a warning.
// Values that hold an interpolation which was not resolved are not judged.
package lintrule
