package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"time"
)

// environment says where and with what a result was measured.
type environment struct {
	Date   string `json:"date"`
	Commit string `json:"commit"`
	Broker string `json:"broker"`
	Go     string `json:"go"`
	System string `json:"system"`
	CPU    string `json:"cpu"`
	Cores  int    `json:"cores"`
	// Versions are those of the modules that do the work, by program.
	Versions    map[string]string `json:"versions"`
	Compression string            `json:"compression"`
}

func (b *bench) describe(broker string) environment {
	e := environment{
		Date: time.Now().UTC().Format(time.RFC3339), Commit: commit(), Broker: broker,
		Go: runtime.Version(), System: runtime.GOOS + "/" + runtime.GOARCH, CPU: processor(), Cores: runtime.NumCPU(),
		Versions: map[string]string{}, Compression: b.compression,
	}
	for what, p := range map[string]program{nameRaw: rawLoop, "connect": connect, "tidemark": tidemark} {
		if b.binaries[p] != "" {
			e.Versions[what] = versions(b.binaries[p])
		}
	}
	return e
}

// commit names the commit of the working tree, with a mark if it was changed.
func commit() string {
	head, err := exec.Command("git", "rev-parse", "--short=12", "HEAD").Output()
	if err != nil {
		return "none"
	}
	name := strings.TrimSpace(string(head))
	changed, err := exec.Command("git", "status", "--porcelain", "--", "..", ":!results").Output()
	if err != nil || len(changed) > 0 {
		name += ", with changes"
	}
	return name
}

// processor is the model of the machine's CPU, as far as it tells.
func processor() string {
	text, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return "unknown"
	}
	_, rest, ok := strings.Cut(string(text), "model name")
	if !ok {
		return "unknown"
	}
	line, _, _ := strings.Cut(rest, "\n")
	return strings.TrimSpace(strings.TrimLeft(line, "\t :"))
}

// versions lists those modules in a binary that its speed depends on.
func versions(binary string) string {
	out, err := exec.Command("go", "version", "-m", binary).Output()
	if err != nil {
		return "unknown"
	}
	_, text, _ := strings.Cut(string(out), "\n")
	info, err := debug.ParseBuildInfo(text)
	if err != nil {
		return "unknown"
	}
	var found []string
	for _, m := range info.Deps {
		switch m.Path {
		case "github.com/redpanda-data/connect/v4", "github.com/redpanda-data/benthos/v4", "github.com/twmb/franz-go":
			found = append(found, strings.TrimSuffix(strings.TrimPrefix(m.Path, "github.com/"), "/v4")+" "+m.Version)
		}
	}
	return strings.Join(found, ", ")
}

func (e environment) markdown() string {
	var s strings.Builder
	fmt.Fprintf(&s, "%s, commit %s, %s on %d cores (%s, %s, %s), compression %s.\n",
		e.Date, e.Commit, e.Broker, e.Cores, e.CPU, e.System, e.Go, e.Compression)
	for _, what := range []string{nameRaw, "connect", "tidemark"} {
		if v := e.Versions[what]; v != "" {
			fmt.Fprintf(&s, "- %s: %s\n", what, v)
		}
	}
	return s.String()
}

// table lays out a Markdown table.
func table(head []string, rows [][]string) string {
	var s strings.Builder
	line := func(cells []string) { fmt.Fprintf(&s, "| %s |\n", strings.Join(cells, " | ")) }
	line(head)
	rule := make([]string, len(head))
	for i := range rule {
		rule[i] = "---"
	}
	line(rule)
	for _, r := range rows {
		line(r)
	}
	return s.String()
}

func goalTable(goals []goal) string {
	var rows [][]string
	for _, g := range goals {
		verdict := "missed"
		if g.Met {
			verdict = "met"
		}
		rows = append(rows, []string{g.What, g.Wanted, fmt.Sprintf("%.3g", g.Measured), verdict})
	}
	return table([]string{"goal", "wanted", "measured", ""}, rows)
}

// save writes a result for people and for machines, and prints the former.
func save(dir, name, markdown string, data any) error {
	fmt.Print(markdown)
	if dir == "" {
		return nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("making the folder for results: %w", err)
	}
	text, err := json.MarshalIndent(data, "", "  ")
	if err != nil {
		return fmt.Errorf("writing results: %w", err)
	}
	for file, content := range map[string][]byte{name + ".md": []byte(markdown), name + ".json": append(text, '\n')} {
		if err := os.WriteFile(filepath.Join(dir, file), content, 0o644); err != nil {
			return fmt.Errorf("writing results: %w", err)
		}
	}
	return nil
}
