package soak

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// modulePath is the module that is built.
const modulePath = "github.com/tidemarkhq/tidemark"

// Sabotage replaces one place of a source file, for a build alone.
type Sabotage struct {
	// File, from the root of the module.
	File string `json:"file"`
	// Old must be in it exactly once; New takes its place.
	Old string `json:"old"`
	New string `json:"new"`
}

// binaries holds the programs built so far by package; their folder is removed by
// Clean.
var binaries struct {
	sync.Mutex
	dir   string
	paths map[string]string
}

// Tidemark builds the binary, once for the test process.
func Tidemark(t testing.TB) string { return program(t, modulePath+"/cmd/tidemark") }

// TallyProgram builds the program of the state harness, once for the test process.
func TallyProgram(t testing.TB) string { return program(t, modulePath+"/internal/soak/tally") }

func program(t testing.TB, pkg string) string {
	t.Helper()
	binaries.Lock()
	defer binaries.Unlock()
	if path := binaries.paths[pkg]; path != "" {
		return path
	}
	if binaries.dir == "" {
		dir, err := os.MkdirTemp("", "tidemark-soak-")
		if err != nil {
			t.Fatalf("making a folder for programs: %v", err)
		}
		binaries.dir, binaries.paths = dir, map[string]string{}
	}
	path := filepath.Join(binaries.dir, filepath.Base(pkg))
	build(t, path, pkg)
	binaries.paths[pkg] = path
	return path
}

// Clean removes the programs, when the last test has run.
func Clean() {
	binaries.Lock()
	defer binaries.Unlock()
	if binaries.dir != "" {
		_ = os.RemoveAll(binaries.dir)
		binaries.dir, binaries.paths = "", nil
	}
}

// Broken builds the binary from sources of which some places are replaced.
func Broken(t testing.TB, places ...Sabotage) string {
	t.Helper()
	root, dir := moduleRoot(t), t.TempDir()
	replaced := map[string]string{}
	for _, s := range places {
		file := filepath.Join(root, filepath.FromSlash(s.File))
		from, again := replaced[file]
		if !again {
			from = file
			replaced[file] = filepath.Join(dir, fmt.Sprintf("replaced-%d.go", len(replaced)))
		}
		source, err := os.ReadFile(from)
		if err != nil {
			t.Fatalf("reading the source to break: %v", err)
		}
		if n := strings.Count(string(source), s.Old); n != 1 {
			t.Fatalf("%s has %q %d times: the line to break has changed, name the new one", s.File, s.Old, n)
		}
		if err := os.WriteFile(replaced[file], []byte(strings.Replace(string(source), s.Old, s.New, 1)), 0o600); err != nil {
			t.Fatalf("writing the broken source: %v", err)
		}
	}
	overlay, err := json.Marshal(map[string]any{"Replace": replaced})
	if err != nil {
		t.Fatalf("writing the overlay: %v", err)
	}
	list := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(list, overlay, 0o600); err != nil {
		t.Fatalf("writing the overlay: %v", err)
	}
	path := filepath.Join(dir, "tidemark-broken")
	build(t, path, modulePath+"/cmd/tidemark", "-overlay", list)
	return path
}

func build(t testing.TB, path, pkg string, args ...string) {
	t.Helper()
	args = append(append([]string{"build"}, args...), "-o", path, pkg)
	cmd := exec.Command("go", args...)
	cmd.Dir = moduleRoot(t)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("building %s: %v\n%s", pkg, err, out)
	}
}

func moduleRoot(t testing.TB) string {
	t.Helper()
	root, err := findRoot()
	if err != nil {
		t.Fatal(err)
	}
	return root
}

// findRoot finds the folder of go.mod above the working directory.
func findRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("finding the module: %w", err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", fmt.Errorf("finding the module: no go.mod above the working directory")
		}
		dir = parent
	}
}
