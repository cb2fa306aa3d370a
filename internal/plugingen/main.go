// Plugingen compiles plugins in: it reads plugins.yml and writes internal/all, and adds to go.mod the modules of plugins
// that live elsewhere. Run it in the project's root, with "make plugins".
//
// PLUGINS_CONFIG_FILE names other lists, separated by commas; without it plugins.yml is read, and
// external_plugins.yml where there is one.
package main

import (
	"fmt"
	"os"
	"strings"
)

func main() {
	if err := run(".", os.Getenv("PLUGINS_CONFIG_FILE")); err != nil {
		fmt.Fprintln(os.Stderr, "plugingen:", err)
		os.Exit(1)
	}
}

func run(root, files string) error {
	list, err := load(root, files)
	if err != nil {
		return err
	}
	if err := list.checkOwn(root); err != nil {
		return err
	}
	// Before the imports are written: when a module cannot be had, internal/all still compiles.
	if err := list.require(root); err != nil {
		return err
	}
	if err := list.write(root); err != nil {
		return err
	}
	return list.complete(root)
}

// load reads the files that the variable names, or the default ones, as one list.
func load(root, files string) (*list, error) {
	merged := &list{}
	names := []string{"plugins.yml", "external_plugins.yml"}
	if files != "" {
		names = strings.Split(files, ",")
	}
	for _, name := range names {
		l, err := read(root, strings.TrimSpace(name))
		if os.IsNotExist(err) && files == "" && name != "plugins.yml" {
			continue
		}
		if err != nil {
			return nil, err
		}
		merged.merge(l)
	}
	return merged, nil
}
