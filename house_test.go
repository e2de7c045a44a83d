package tidemark_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"net/url"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The house rules that a machine can check. CONTRIBUTING.md has them in words.

const module = "github.com/tidemarkhq/tidemark"

// floors says who may import whom inside the module: only what is on a lower
// floor, and neighbours only where they share a house. The longest prefix counts;
// a package without a floor fails the test.
var floors = map[string]int{
	"checkpoint":          0,
	"watermark":           0,
	"config":              0,
	"format":              0,
	"internal/payload":    0,
	"internal/format":     1,
	"internal/kafka":      1,
	"internal/mapping":    1,
	"internal/savepoint":  1,
	"internal/window":     1,
	"internal/store":      2,
	"internal/zookeeper":  2,
	"internal/engine":     3,
	"":                    4, // the root package, for plugins of others
	"internal/lintrule":   4,
	"internal/connection": 5,
	"internal/formats":    5,
	"output":              6,
	"input":               7, // which writes dead letters by an output
	"processor":           7,
	"buffer":              7,
	"cache":               7,
	"plugins":             8,
	"cmd":                 9,
	"internal/kafkatest":  10,
	"internal/soak":       11,
	"internal/behaviour":  12,
}

// testSupport holds packages that exist for tests; nothing that ships imports
// them, because they are on the upper floors.
var testSupport = []string{"internal/kafkatest", "internal/soak", "internal/behaviour"}

// pkg is what go list says of a package.
type pkg struct {
	ImportPath string
	Standard   bool
	Imports    []string
	Deps       []string
}

// inside returns the path in the module, and whether it is in the module at all.
func inside(importPath string) (string, bool) {
	if importPath == module {
		return "", true
	}
	return strings.CutPrefix(importPath, module+"/")
}

// house returns the entry of floors that a package belongs to.
func house(in string) (name string, floor int, ok bool) {
	if in == "" {
		return "", floors[""], true
	}
	for name = in; name != "."; name = path.Dir(name) {
		if floor, ok = floors[name]; ok && name != "" {
			return name, floor, true
		}
	}
	return "", 0, false
}

func list(t *testing.T, args ...string) map[string]pkg {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list", "-json=ImportPath,Standard,Imports,Deps"}, args...)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	require.NoError(t, err, stderr.String())
	pkgs := map[string]pkg{}
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg
		err := d.Decode(&p)
		if errors.Is(err, io.EOF) {
			return pkgs
		}
		require.NoError(t, err)
		pkgs[p.ImportPath] = p
	}
}

func TestImportsPointDownwards(t *testing.T) {
	for _, p := range list(t, "./...") {
		in, _ := inside(p.ImportPath)
		from, high, ok := house(in)
		if !ok {
			t.Errorf("%s has no floor: give it one in house_test.go, as DESIGN.md has it", in)
		}
		for _, i := range p.Imports {
			dep, ours := inside(i)
			if !ours {
				continue
			}
			if to, low, _ := house(dep); from != to && low >= high {
				t.Errorf("%s imports %s, which is not below it", in, dep)
			}
			if to, _, _ := house(dep); to == "plugins" && from != "cmd" && from != "plugins" && !slices.Contains(testSupport, from) {
				t.Errorf("%s imports plugins; only cmd may", in)
			}
		}
	}
}

func TestForeignImportsStayOutOfTheCore(t *testing.T) {
	const (
		benthos = "github.com/redpanda-data/"
		client  = "github.com/twmb/franz-go"
		pebble  = "github.com/cockroachdb/pebble"
	)
	all := list(t, "-deps", "./...")
	forbid := func(strict string, what ...string) {
		for name, p := range all {
			in, ours := inside(name)
			if h, _, _ := house(in); !ours || h != strict {
				continue
			}
			for _, dep := range p.Deps {
				for _, w := range what {
					if strings.HasPrefix(dep, w) {
						t.Errorf("%s depends on %s", in, dep)
					}
				}
			}
		}
	}
	forbid("internal/kafka", benthos, pebble)
	forbid("internal/store", benthos)
	forbid("internal/savepoint", benthos, client, pebble)
	forbid("internal/format", benthos, client+"/pkg/kgo")
	for _, pure := range []string{"checkpoint", "watermark", "format"} {
		for _, dep := range all[module+"/"+pure].Deps {
			if _, ours := inside(dep); !all[dep].Standard || ours {
				t.Errorf("%s depends on %s; it must need the standard library only", pure, dep)
			}
		}
	}
}

func TestEveryPackageHasADoc(t *testing.T) {
	dirs := map[string]bool{}
	for name := range goFiles(t) {
		dirs[path.Dir(name)] = true
	}
	for dir := range dirs {
		file := path.Join(dir, "doc.go")
		if dir == "." {
			file = "tidemark.go"
		}
		f, err := parser.ParseFile(token.NewFileSet(), filepath.FromSlash(file), nil, parser.ParseComments|parser.PackageClauseOnly)
		if err != nil {
			t.Errorf("package %s: %v", dir, err)
			continue
		}
		doc := f.Doc.Text()
		if !strings.HasPrefix(doc, "Package "+f.Name.Name+" ") && !(f.Name.Name == "main" && strings.HasPrefix(doc, "Command ")) {
			t.Errorf("%s: the package comment must begin with Package %s, or Command", file, f.Name.Name)
		}
	}
}

func TestFilesAndFunctionsStaySmall(t *testing.T) {
	for name, f := range goFiles(t) {
		lines, function := 600, 100
		if f.test {
			lines, function = 1000, 150
		}
		if n := f.fset.File(f.ast.Pos()).LineCount(); n > lines {
			t.Errorf("%s has %d lines; the limit is %d", name, n, lines)
		}
		for _, d := range f.ast.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok {
				continue
			}
			if n := f.fset.Position(fn.End()).Line - f.fset.Position(fn.Pos()).Line + 1; n > function {
				t.Errorf("%s: %s has %d lines; the limit is %d", name, fn.Name.Name, n, function)
			}
		}
	}
}

func TestShippedCodeDoesNotImportTesting(t *testing.T) {
	for name, f := range goFiles(t) {
		// The benchmark is a program for us, and starts brokers as tests do.
		if f.test || strings.HasPrefix(name, "bench/") || slices.Contains(testSupport, path.Dir(name)) {
			continue
		}
		for _, i := range f.ast.Imports {
			if i.Path.Value == `"testing"` || strings.HasPrefix(i.Path.Value, `"testing/`) {
				t.Errorf("%s imports %s", name, i.Path.Value)
			}
		}
	}
}

// Sleeping proves nothing on a busy machine; in a synctest bubble it is exact. A
// function that does so and is called from a bubble elsewhere says "bubble" in its
// comment, or its receiver's type does. The soak may let time pass before it kills something.
func TestTestsDoNotSleep(t *testing.T) {
	files := goFiles(t)
	bubbles := map[string]bool{} // folder and type
	for name, f := range files {
		for _, d := range f.ast.Decls {
			if g, ok := d.(*ast.GenDecl); ok && f.test && g.Tok == token.TYPE && strings.Contains(g.Doc.Text(), "bubble") {
				bubbles[path.Join(path.Dir(name), g.Specs[0].(*ast.TypeSpec).Name.Name)] = true
			}
		}
	}
	for name, f := range files {
		if !f.test || path.Dir(name) == "internal/soak" {
			continue
		}
		for _, d := range f.ast.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok || strings.Contains(fn.Doc.Text(), "bubble") || bubbles[path.Join(path.Dir(name), receiver(fn))] {
				continue
			}
			ast.Inspect(fn, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.FuncLit:
					// A virtual cluster exists in a bubble only.
					return !calls(n, "kafkatest", "Virtual")
				case *ast.CallExpr:
					if isSelector(n.Fun, "time", "Sleep") {
						t.Errorf("%s: time.Sleep outside a synctest bubble", f.fset.Position(n.Pos()))
					}
					return !isSelector(n.Fun, "synctest", "Test")
				}
				return true
			})
		}
	}
}

// receiver returns the name of a method's type, "" for a function.
func receiver(fn *ast.FuncDecl) string {
	if fn.Recv == nil {
		return ""
	}
	typ := fn.Recv.List[0].Type
	if p, ok := typ.(*ast.StarExpr); ok {
		typ = p.X
	}
	id, _ := typ.(*ast.Ident)
	if id == nil {
		return ""
	}
	return id.Name
}

// calls tells whether a function is called somewhere in n.
func calls(n ast.Node, x, sel string) bool {
	found := false
	ast.Inspect(n, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		found = found || ok && isSelector(call.Fun, x, sel)
		return !found
	})
	return found
}

func isSelector(e ast.Expr, x, sel string) bool {
	s, ok := e.(*ast.SelectorExpr)
	if !ok || s.Sel.Name != sel {
		return false
	}
	id, ok := s.X.(*ast.Ident)
	return ok && id.Name == x
}

// What works on the author's machine only must not be committed: its name, where
// it has its folders, and where it gets its modules from.
func TestNothingNamesTheMachine(t *testing.T) {
	folders := regexp.MustCompile(`(^|[^\w.])/(` + strings.Join([]string{"root", "home", "Users", "work"}, "|") + `)/\w`)
	hosts := machineNames(t)
	for name, text := range texts(t) {
		for i, line := range strings.Split(text, "\n") {
			if m := folders.FindString(line); m != "" {
				t.Errorf("%s:%d: the folder of a machine: %s", name, i+1, m)
			}
			for _, h := range hosts {
				if strings.Contains(line, h) {
					t.Errorf("%s:%d: the host %s", name, i+1, h)
				}
			}
		}
	}
}

// machineNames returns the name of this machine and the hosts, other than Go's own
// public ones, that it gets modules from.
func machineNames(t *testing.T) []string {
	t.Helper()
	var names []string
	if host, err := os.Hostname(); err == nil && len(host) >= 8 && host != "localhost" {
		names = append(names, host)
	}
	out, err := exec.Command("go", "env", "GOPROXY", "GOSUMDB", "GONOSUMDB").Output()
	require.NoError(t, err)
	for _, field := range strings.FieldsFunc(string(out), func(r rune) bool { return strings.ContainsRune(",| \n", r) }) {
		u, err := url.Parse(field)
		if err == nil && u.Hostname() != "" && !strings.HasSuffix(u.Hostname(), "golang.org") {
			names = append(names, u.Hostname())
		}
	}
	return names
}

// goFile is a parsed file.
type goFile struct {
	fset *token.FileSet
	ast  *ast.File
	test bool
}

// goFiles parses all Go files of the repository, other modules in it included.
func goFiles(t *testing.T) map[string]goFile {
	t.Helper()
	files := map[string]goFile{}
	for name, text := range texts(t) {
		if path.Ext(name) != ".go" {
			continue
		}
		fset := token.NewFileSet()
		f, err := parser.ParseFile(fset, name, text, parser.ParseComments|parser.SkipObjectResolution)
		require.NoError(t, err)
		files[name] = goFile{fset: fset, ast: f, test: strings.HasSuffix(name, "_test.go")}
	}
	return files
}

// texts reads all text files of the repository that people write.
func texts(t *testing.T) map[string]string {
	t.Helper()
	skip := []string{".git", ".cache", "bin", "data", "tmp", "testdata", "results", "node_modules"}
	kinds := []string{".go", ".md", ".yaml", ".yml", ".sh", ".mod", ".json", ".txt", ""}
	found := map[string]string{}
	err := filepath.WalkDir(".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && slices.Contains(skip, d.Name()):
			return fs.SkipDir
		case !d.Type().IsRegular() || !slices.Contains(kinds, filepath.Ext(strings.TrimPrefix(d.Name(), "."))):
			return nil
		}
		text, err := os.ReadFile(name)
		if !bytes.ContainsRune(text, 0) {
			found[filepath.ToSlash(name)] = string(text)
		}
		return err
	})
	require.NoError(t, err)
	return found
}
