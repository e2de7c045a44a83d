// Command tidemark is Benthos with Tidemark's components: its whole command line,
// a demo, and a broker to try things out with. Run it with --help.
package main
