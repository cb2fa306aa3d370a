package cli

import "github.com/flinktail/flinktail/internal/scaffold"

type pluginsNewCommand struct {
	Name string `arg:"" help:"For example flusher_pulsar."`
}

func (c *pluginsNewCommand) Run(a *app) error {
	return scaffold.New(".", c.Name, a.stdout)
}
