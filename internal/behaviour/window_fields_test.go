package behaviour

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/require"

	"github.com/tidemarkhq/tidemark/buffer"
)

// windowFields names, for each field of the buffer, the test that shows a changed value
// take effect; `package.Test` is one of another package.
var windowFields = map[string]string{
	"type":                 "TestWindowsOfMessages",
	"size":                 "TestWindowsOfMessages",
	"slide":                "TestWindowsOfMessages",
	"gap":                  "TestWindowsOfMessages",
	"offset":               "TestWindowsOfMessages",
	"key":                  "buffer.TestKeys",
	"allowed_lateness":     "TestAllowedLateness",
	"late":                 "TestAllowedLateness",
	"scope":                "TestDefaultScope",
	"max_keys_in_memory":   "TestWindowsSurviveRestarts",
	"aggregate.count":      "TestWindowsOfAggregates",
	"aggregate.sum":        "TestWindowsOfAggregates",
	"aggregate.min":        "TestWindowsOfAggregates",
	"aggregate.max":        "TestWindowsOfAggregates",
	"aggregate.avg":        "TestWindowsOfAggregates",
	"aggregate.first":      "TestWindowsOfAggregates",
	"aggregate.last":       "TestWindowsOfAggregates",
	"aggregate.fold.init":  "buffer.TestFold",
	"aggregate.fold.add":   "buffer.TestFold",
	"aggregate.fold.merge": "buffer.TestMergeIsForTwoSessions",
	"aggregate.fold.emit":  "buffer.TestFold",
}

// testsIn returns the names of the test functions of a folder, with a prefix.
func testsIn(t *testing.T, prefix, folder string) (names []string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(folder, "*_test.go"))
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, name := range files {
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		require.NoError(t, err)
		for _, d := range f.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && strings.HasPrefix(fn.Name.Name, "Test") {
				names = append(names, prefix+fn.Name.Name)
			}
		}
	}
	return names
}

// Nothing of the windows may be configurable that no test has seen take effect.
func TestEveryFieldOfWindowsHasATest(t *testing.T) {
	known := append(testsIn(t, "", "."), testsIn(t, "buffer.", "../../buffer")...)
	env := service.NewEmptyEnvironment()
	require.NoError(t, buffer.Register(env))
	var fields []string
	env.WalkBuffers(func(_ string, view *service.ConfigView) {
		text, err := view.FormatJSON()
		require.NoError(t, err)
		var doc struct {
			Config specField `json:"config"`
		}
		require.NoError(t, json.Unmarshal(text, &doc))
		fields = leaves("", doc.Config.Children)
	})
	require.Greater(t, len(fields), 15)
	for _, field := range fields {
		if windowFields[field] == "" {
			t.Errorf("no test shows the field %s take effect", field)
		}
	}
	for field, test := range windowFields {
		if !slices.Contains(fields, field) {
			t.Errorf("there is no field %s", field)
		}
		if !slices.Contains(known, test) {
			t.Errorf("the test %s of field %s does not exist", test, field)
		}
	}
}
