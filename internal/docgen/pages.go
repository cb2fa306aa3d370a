package main

import (
	_ "embed"
	"fmt"
	"strings"

	"github.com/flinktail/flinktail/internal/config"
	"github.com/flinktail/flinktail/pipeline"
	"github.com/flinktail/flinktail/protocol"
	"github.com/flinktail/flinktail/protocol/flink"
)

//go:embed config.md
var configText string

//go:embed events.md
var eventsText string

// configPage is config.md with its tables.
func configPage() string {
	global, delivery := config.DefaultGlobal(), config.DefaultDelivery()
	return notice + strings.NewReplacer(
		"{{global}}\n", optionsTable(config.Options(&global)),
		"{{delivery}}\n", optionsTable(config.Options(&delivery)),
		"{{plugins}}\n", pluginsTable(),
	).Replace(configText)
}

func pluginsTable() string {
	var b strings.Builder
	b.WriteString("| plugin | what it does |\n|---|---|\n")
	for _, name := range pipeline.Names() {
		plugin, _ := pipeline.New(name)
		entry := "`" + name + "`"
		if folder, own := folderOf(plugin); own {
			entry = fmt.Sprintf("[%s](../../%s/README.md)", entry, folder)
		}
		fmt.Fprintf(&b, "| %s | %s |\n", entry, cell(plugin.(interface{ Description() string }).Description()))
	}
	return b.String()
}

// eventsPage is events.md with its tables.
func eventsPage() string {
	return notice + strings.NewReplacer(
		"{{version}}", fmt.Sprint(flink.SchemaVersion),
		"{{kinds}}\n", kindsTable(),
		"{{fields}}\n", fieldsTable(flink.Fields.Fields()),
	).Replace(eventsText)
}

func kindsTable() string {
	var b strings.Builder
	b.WriteString("| kind | meaning |\n|---|---|\n")
	for _, kind := range flink.Kinds {
		fmt.Fprintf(&b, "| `%s` | %s |\n", kind.Name, cell(kind.Meaning))
	}
	return b.String()
}

func fieldsTable(fields []protocol.Field) string {
	var b strings.Builder
	b.WriteString("| field | type | meaning | example |\n|---|---|---|---|\n")
	for _, f := range fields {
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", f.Name, f.Type, cell(f.Meaning), code(f.Example))
	}
	return b.String()
}
