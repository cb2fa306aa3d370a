// Command flinktail takes Apache Flink's events and carries them, without losing any, to flushers.
package main

import (
	"os"

	_ "github.com/flinktail/flinktail/internal/all"
	"github.com/flinktail/flinktail/internal/cli"
)

func main() { os.Exit(cli.Run(os.Args[1:], os.Stdout, os.Stderr, os.Exit)) }
