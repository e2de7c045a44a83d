package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

func main() {
	dir := flag.String("dir", filepath.Join("docs", "reference"), "the folder that holds the pages")
	check := flag.Bool("check", false, "write nothing, fail where a page is not up to date")
	flag.Parse()
	act := write
	if *check {
		act = compare
	}
	pages, err := render()
	if err == nil {
		err = act(*dir, pages)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// write makes the folder hold these pages and no other.
func write(dir string, pages map[string][]byte) error {
	there, err := present(dir)
	if err != nil {
		return err
	}
	for _, name := range there {
		if _, ok := pages[name]; !ok {
			if err := os.Remove(filepath.Join(dir, name)); err != nil {
				return fmt.Errorf("removing a page of no component: %w", err)
			}
		}
	}
	for name, text := range pages {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return fmt.Errorf("making a folder for pages: %w", err)
		}
		if err := os.WriteFile(path, text, 0o644); err != nil {
			return fmt.Errorf("writing a page: %w", err)
		}
	}
	return nil
}

// compare returns an error that names every page that write would change.
func compare(dir string, pages map[string][]byte) error {
	there, err := present(dir)
	if err != nil {
		return err
	}
	var stale []string
	for _, name := range there {
		if _, ok := pages[name]; !ok {
			stale = append(stale, name)
		}
	}
	for name, text := range pages {
		if old, err := os.ReadFile(filepath.Join(dir, name)); err != nil || !bytes.Equal(old, text) {
			stale = append(stale, name)
		}
	}
	if len(stale) == 0 {
		return nil
	}
	slices.Sort(stale)
	return fmt.Errorf("pages in %s are not up to date, run make docs: %s", dir, strings.Join(stale, ", "))
}

// present lists the pages in the folder.
func present(dir string) ([]string, error) {
	var names []string
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() && filepath.Ext(path) == ".md" {
			name, _ := filepath.Rel(dir, path)
			names = append(names, filepath.ToSlash(name))
		}
		return err
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("looking for pages: %w", err)
	}
	return names, nil
}
