// Package formats has the fields that say which formats records have, and makes of them what
// the input reads with and the output writes with.
package formats
