package plugins

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/urfave/cli/v2"

	"github.com/tidemarkhq/tidemark/internal/lintrule"
)

// The flags of Benthos's lint command, which ours passes on.
var (
	lintSwitches = []string{"deprecated", "labels", "skip-env-var-check", "verbose"}
	lintLists    = map[string]string{"resources": "r", "env-file": "e", "templates": "t"}
)

// lintCommand takes the place of Benthos's lint command: it runs that one, with
// the options it would have had, and then the rules across components.
func lintCommand(opts []service.CLIOptFunc) *cli.Command {
	flags := []cli.Flag{
		&cli.BoolFlag{Name: "deprecated", Usage: "Print linting errors for the presence of deprecated fields."},
		&cli.BoolFlag{Name: "labels", Usage: "Print linting errors when components do not have labels."},
		&cli.BoolFlag{
			Name:  "skip-env-var-check",
			Usage: "Do not produce lint errors when environment interpolations exist without defaults within configs but aren't defined.",
		},
		&cli.BoolFlag{Name: "verbose", Usage: "Print the lint result for each target file."},
		&cli.StringSliceFlag{
			Name: "resources", Aliases: []string{"r"},
			Usage: "lint extra resource files as well, supports glob patterns (requires quotes)",
		},
		&cli.StringSliceFlag{Name: "env-file", Aliases: []string{"e"}, Usage: "import environment variables from a dotenv file"},
		&cli.StringSliceFlag{
			Name: "templates", Aliases: []string{"t"},
			Usage: "EXPERIMENTAL: import templates, supports glob patterns (requires quotes)",
		},
	}
	return &cli.Command{
		Name:  "lint",
		Usage: "Parse {{.ProductName}} configs and report any linting errors",
		Flags: flags,
		Description: `
Exits with a status code 1 if any linting errors are detected:

  {{.BinaryName}} lint ./configs/*.yaml
  {{.BinaryName}} lint ./foo.yaml ./bar.yaml
  {{.BinaryName}} lint ./configs/...

If a path ends with '...' then {{.ProductName}} will walk the target and lint any
files with the .yaml or .yml extension.

Rules that concern a stream as a whole are checked too. Warnings among them do
not change the status code.`[1:],
		Action: func(c *cli.Context) error { return lint(c, opts) },
	}
}

func lint(c *cli.Context, opts []service.CLIOptFunc) error {
	args := append(slices.Clone(opts), service.CLIOptSetArgs(lintArgs(c)...))
	code, err := service.RunCLIToCode(c.Context, args...)
	if err != nil {
		return err
	}
	targets, err := lintTargets(c)
	if err != nil {
		return err
	}
	for _, target := range targets {
		text, err := os.ReadFile(target)
		if err != nil {
			continue // Benthos has reported it.
		}
		findings, err := lintrule.CheckYAML(lintrule.Expand(text, os.LookupEnv))
		if err != nil {
			continue // Benthos has reported it.
		}
		for _, f := range findings {
			fmt.Fprintf(c.App.ErrWriter, "%s%v\n", target, f)
			if !f.Warning {
				code = 1
			}
		}
	}
	if code != 0 {
		return errReported
	}
	return nil
}

// lintArgs is the command line for Benthos's own lint command.
func lintArgs(c *cli.Context) []string {
	args := []string{binaryName()}
	if conf := c.String("config"); conf != "" {
		args = append(args, "--config", conf)
	}
	args = append(args, "lint")
	for _, name := range lintSwitches {
		if c.Bool(name) {
			args = append(args, "--"+name)
		}
	}
	for name := range lintLists {
		for _, v := range lintList(c, name) {
			args = append(args, "--"+name, v)
		}
	}
	return append(append(args, "--"), c.Args().Slice()...)
}

// lintList returns the values of a flag that may be given before or after the
// name of the command.
func lintList(c *cli.Context, name string) []string {
	for _, level := range c.Lineage() {
		if v := level.StringSlice(name); len(v) > 0 {
			return v
		}
	}
	return nil
}

// lintTargets lists the YAML files to lint.
func lintTargets(c *cli.Context) ([]string, error) {
	paths := append(c.Args().Slice(), lintList(c, "resources")...)
	if conf := c.String("config"); conf != "" {
		paths = append(paths, conf)
	}
	var targets []string
	for _, p := range paths {
		files, err := expandPath(p)
		if err != nil {
			return nil, fmt.Errorf("finding files to lint in %s: %w", p, err)
		}
		targets = append(targets, files...)
	}
	slices.Sort(targets)
	return slices.Compact(targets), nil
}

// expandPath lists the files that a path, a glob pattern or a path that ends in
// '...' stands for, as Benthos does.
func expandPath(p string) ([]string, error) {
	root, walk := strings.CutSuffix(p, "...")
	if !walk {
		root, _, walk = strings.Cut(p, "**")
	}
	if !walk {
		files, err := filepath.Glob(p)
		return slices.DeleteFunc(files, func(f string) bool { return filepath.Ext(f) == ".md" }), err
	}
	if root == "" {
		root = "."
	}
	var files []string
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if ext := filepath.Ext(path); err == nil && !entry.IsDir() && (ext == ".yaml" || ext == ".yml") {
			files = append(files, path)
		}
		return err
	})
	return files, err
}
