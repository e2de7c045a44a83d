package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"text/template"

	"github.com/redpanda-data/benthos/v4/public/service"

	"github.com/tidemarkhq/tidemark/cmd/tidemark/internal/prometheus"
	"github.com/tidemarkhq/tidemark/plugins"
)

// page is what a component's page shows.
type page struct {
	service.TemplateDataPlugin
	Deprecated []spec
}

// spec is the part of a field's specification that TemplateData leaves out.
type spec struct {
	Name         string `json:"name"`
	Description  string `json:"description"`
	IsDeprecated bool   `json:"is_deprecated"`
	Children     []spec `json:"children"`
}

// views lists the components to document.
func views() ([]*service.ConfigView, error) {
	env := service.NewEmptyEnvironment()
	if err := plugins.Register(env); err != nil {
		return nil, err
	}
	var all []*service.ConfigView
	for _, walk := range []func(func(string, *service.ConfigView)){
		env.WalkInputs, env.WalkOutputs, env.WalkProcessors, env.WalkBuffers, env.WalkCaches,
	} {
		walk(func(_ string, view *service.ConfigView) { all = append(all, view) })
	}
	// Benthos finds metrics exporters in the global environment only.
	if err := prometheus.Register(service.GlobalEnvironment()); err != nil {
		return nil, err
	}
	if view, ok := service.GlobalEnvironment().GetMetricsConfig("prometheus"); ok {
		all = append(all, view)
	}
	return all, nil
}

// render returns the pages by their path.
func render() (map[string][]byte, error) {
	all, err := views()
	if err != nil {
		return nil, err
	}
	pages := map[string][]byte{}
	var index []page
	for _, view := range all {
		p, text, err := renderOne(view)
		if err != nil {
			return nil, fmt.Errorf("rendering %s: %w", p.Name, err)
		}
		index = append(index, p)
		pages[p.Path()] = text
	}
	var b bytes.Buffer
	if err := templates.ExecuteTemplate(&b, "index", index); err != nil {
		return nil, fmt.Errorf("rendering the list of pages: %w", err)
	}
	pages["README.md"] = b.Bytes()
	return pages, nil
}

func renderOne(view *service.ConfigView) (page, []byte, error) {
	data, err := view.TemplateData()
	if err != nil {
		return page{}, nil, err
	}
	text, err := view.FormatJSON()
	if err != nil {
		return page{}, nil, err
	}
	var full struct {
		Config spec `json:"config"`
	}
	if err := json.Unmarshal(text, &full); err != nil {
		return page{}, nil, fmt.Errorf("reading its specification: %w", err)
	}
	p := page{TemplateDataPlugin: data, Deprecated: deprecated("", full.Config.Children)}
	var b bytes.Buffer
	if err := templates.ExecuteTemplate(&b, "page", p); err != nil {
		return p, nil, err
	}
	return p, b.Bytes(), nil
}

// Path is where the page lies.
func (p page) Path() string {
	folder := p.Type + "s"
	if p.Type == "metrics" {
		folder = p.Type
	}
	return folder + "/" + p.Name + ".md"
}

// deprecated lists fields that are accepted for the sake of older configurations.
func deprecated(path string, fields []spec) (found []spec) {
	for _, f := range fields {
		f.Name = path + f.Name
		if f.IsDeprecated {
			found = append(found, f)
			continue
		}
		found = append(found, deprecated(f.Name+".", f.Children)...)
	}
	return found
}

var templates = template.Must(template.New("").Funcs(template.FuncMap{
	"trim": strings.TrimSpace,
	"cell": func(s string) string {
		return strings.ReplaceAll(strings.Join(strings.Fields(s), " "), "|", `\|`)
	},
}).Parse(`
{{- define "index" -}}
<!-- Rendered by make docs. Do not edit. -->
# Component reference

| component | kind | |
|---|---|---|
{{range .}}| [` + "`{{.Name}}`" + `]({{.Path}}) | {{.Type}} | {{cell .Summary}} |
{{end}}{{end -}}

{{define "page" -}}
<!-- Rendered by make docs. Do not edit. -->
# {{.Type}} ` + "`{{.Name}}`" + `
{{with trim .Summary}}
{{.}}
{{end}}
{{- if eq .CommonConfigYAML .AdvancedConfigYAML}}
` + "```yaml" + `
{{trim .CommonConfigYAML}}
` + "```" + `
{{else}}
Common fields:

` + "```yaml" + `
{{trim .CommonConfigYAML}}
` + "```" + `

All fields:

` + "```yaml" + `
{{trim .AdvancedConfigYAML}}
` + "```" + `
{{end}}
{{- with trim .Description}}
{{.}}
{{end}}
{{- if .Examples}}
## Examples
{{range .Examples}}
### {{.Title}}
{{with trim .Summary}}
{{.}}
{{end}}
` + "```yaml" + `
{{trim .Config}}
` + "```" + `
{{end}}{{end}}
{{- if .Fields}}
## Fields
{{range .Fields}}
### ` + "`{{.FullName}}`" + `

{{trim .Description}}

Type: ` + "`{{.Type}}`" + `{{with .DefaultMarshalled}}, default: ` + "`{{.}}`" + `{{end}}{{if .IsInterpolated}}, interpolated for each message{{end}}{{if .IsSecret}}, a secret{{end}}
{{- if .AnnotatedOptions}}

| option | |
|---|---|
{{- range .AnnotatedOptions}}
| ` + "`{{index . 0}}`" + ` | {{cell (index . 1)}} |
{{- end}}
{{- else if .Options}}

Options:{{range $i, $o := .Options}}{{if $i}},{{end}} ` + "`{{$o}}`" + `{{end}}
{{- end}}
{{- if .ExamplesMarshalled}}

` + "```yaml" + `
{{- range $i, $e := .ExamplesMarshalled}}{{if $i}}
# or{{end}}
{{trim $e}}
{{- end}}
` + "```" + `
{{- end}}
{{end}}{{end}}
{{- if .Deprecated}}
## Deprecated fields

Accepted so that configurations of other components need no change.

| field | |
|---|---|
{{- range .Deprecated}}
| ` + "`{{.Name}}`" + ` | {{cell .Description}} |
{{- end}}
{{end}}
{{- with trim .Footnotes}}
{{.}}
{{end}}
{{- end}}`))
