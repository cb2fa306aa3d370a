package cli

import (
	"errors"
	"fmt"
	"strings"

	"github.com/flinktail/flinktail/internal/config"
	"github.com/flinktail/flinktail/pipeline"
)

type pluginsCommand struct {
	List pluginsListCommand `cmd:"" default:"withargs" help:"List the plugins; with NAME its options and a sample. This is the default."`
	New  pluginsNewCommand  `cmd:"" help:"Write a new flusher's code, test, README and sample, to be run in the source tree."`
}

type pluginsListCommand struct {
	Name   string `arg:"" optional:"" help:"For example flusher_file."`
	Sample bool   `help:"Print only the sample: a pipeline's file that uses the plugin."`
}

func (c *pluginsListCommand) Run(a *app) error {
	if c.Name != "" {
		return c.show(a)
	}
	if c.Sample {
		return usageError{errors.New("--sample needs the name of a plugin")}
	}
	var rows [][]string
	for _, name := range pipeline.Names() {
		plugin, _ := pipeline.New(name)
		rows = append(rows, []string{name, describe(plugin)})
	}
	return printTable(a.stdout, []string{"PLUGIN", "WHAT IT DOES"}, rows)
}

func (c *pluginsListCommand) show(a *app) error {
	plugin, ok := pipeline.New(c.Name)
	if !ok {
		return usageError{fmt.Errorf("no plugin %q; \"flinktail plugins\" lists them", c.Name)}
	}
	sample := ""
	if documented, ok := plugin.(pipeline.Documented); ok {
		sample = strings.TrimRight(string(documented.Sample()), "\n")
	}
	if c.Sample {
		fmt.Fprintln(a.stdout, sample)
		return nil
	}
	options := optionRows(plugin)
	if !isTerminal(a.stdout) {
		return printTable(a.stdout, nil, options)
	}
	header := []string{"OPTION", "TYPE", "DEFAULT", "MEANING"}
	fmt.Fprintf(a.stdout, "%s: %s\n\n", c.Name, describe(plugin))
	if len(options) > 0 {
		fmt.Fprintln(a.stdout, `Options, under "detail":`)
		if err := printTable(a.stdout, header, options); err != nil {
			return err
		}
	}
	if _, isFlusher := plugin.(pipeline.Flusher); isFlusher {
		fmt.Fprintln(a.stdout, "\nOptions of every flusher, beside \"detail\":")
		delivery := config.DefaultDelivery()
		if err := printTable(a.stdout, header, optionRows(&delivery)); err != nil {
			return err
		}
	}
	fmt.Fprintf(a.stdout, "\nSample:\n%s\n", sample)
	return nil
}

func optionRows(instance any) [][]string {
	var rows [][]string
	for _, o := range config.Options(instance) {
		rows = append(rows, []string{o.Path, o.Type, o.Default, o.Description})
	}
	return rows
}

func describe(plugin any) string {
	described, ok := plugin.(interface{ Description() string })
	if !ok {
		return ""
	}
	return described.Description()
}

type schemaCommand struct{}

func (*schemaCommand) Run(a *app) error {
	text, err := config.Schema()
	if err != nil {
		return fmt.Errorf("make schema: %w", err)
	}
	_, err = fmt.Fprintln(a.stdout, strings.TrimRight(string(text), "\n"))
	return err
}
