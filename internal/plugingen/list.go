package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

const ownModule = "github.com/flinktail/flinktail"

// list is plugins.yml, in iLogtail's format.
type list struct {
	Plugins struct {
		Common  []plugin `yaml:"common"`
		Linux   []plugin `yaml:"linux"`
		Windows []plugin `yaml:"windows"`
	} `yaml:"plugins"`
	Project struct {
		Replaces   replaces          `yaml:"replaces"`
		GoEnvs     map[string]string `yaml:"go_envs"`
		GitConfigs map[string]string `yaml:"git_configs"`
	} `yaml:"project"`
}

// plugin is one package that registers plugins.
type plugin struct {
	GoMod  string `yaml:"gomod"`  // "module version", for a package of another module
	Import string `yaml:"import"` // the package; the module itself where it is left out
	Path   string `yaml:"path"`   // a folder that stands for the module, relative to the project's root
}

// replaces are replacements as go.mod has them: "old => new version". A mapping of old to new may stand for the list.
type replaces []string

func (r *replaces) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind != yaml.MappingNode {
		return n.Decode((*[]string)(r))
	}
	var byOld map[string]string
	if err := n.Decode(&byOld); err != nil {
		return err
	}
	for _, from := range slices.Sorted(maps.Keys(byOld)) {
		*r = append(*r, from+" => "+byOld[from])
	}
	return nil
}

func read(root, name string) (*list, error) {
	path := name
	if !filepath.IsAbs(name) {
		path = filepath.Join(root, name)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	l, err := parse(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return l, nil
}

func parse(text []byte) (*list, error) {
	l := &list{}
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	decoder.KnownFields(true)
	if err := decoder.Decode(l); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	for _, section := range l.sections() {
		for i := range *section.plugins {
			if err := (*section.plugins)[i].complete(); err != nil {
				return nil, fmt.Errorf("plugins.%s[%d]: %w", section.name, i, err)
			}
		}
	}
	for i, text := range l.Project.Replaces {
		if from, to, ok := strings.Cut(text, "=>"); !ok || strings.TrimSpace(from) == "" || strings.TrimSpace(to) == "" {
			return nil, fmt.Errorf(`project.replaces[%d]: %q is not of the form "old => new"`, i, text)
		}
	}
	return l, nil
}

// complete checks a plugin and fills in what it leaves out.
func (p *plugin) complete() error {
	module := strings.Fields(p.GoMod)
	switch {
	case len(module) > 2:
		return fmt.Errorf(`gomod: %q is not of the form "module version"`, p.GoMod)
	case len(module) == 0 && p.Path != "":
		return errors.New("path: needs a gomod that it stands for")
	case len(module) == 1 && p.Path == "":
		return fmt.Errorf(`gomod: %q has no version; write one, or "latest"`, p.GoMod)
	case len(module) == 0 && p.Import == "":
		return errors.New("needs an import or a gomod")
	}
	if p.Import == "" {
		p.Import = module[0]
	}
	if len(module) == 1 {
		p.GoMod += " v0.0.0" // which one does not matter: the folder stands for it
	}
	if strings.ContainsAny(p.Import, " \"`\\\n") {
		return fmt.Errorf("import: %q is not the path of a package", p.Import)
	}
	return nil
}

// section is one of the lists with the build constraint of its file, empty for all systems.
type section struct {
	name, constraint string
	plugins          *[]plugin
}

func (l *list) sections() []section {
	return []section{
		{"common", "", &l.Plugins.Common},
		{"linux", "linux", &l.Plugins.Linux},
		{"windows", "windows", &l.Plugins.Windows},
	}
}

func (l *list) merge(more *list) {
	into, from := l.sections(), more.sections()
	for i := range into {
		*into[i].plugins = append(*into[i].plugins, *from[i].plugins...)
	}
	l.Project.Replaces = append(l.Project.Replaces, more.Project.Replaces...)
	l.Project.GoEnvs = merged(l.Project.GoEnvs, more.Project.GoEnvs)
	l.Project.GitConfigs = merged(l.Project.GitConfigs, more.Project.GitConfigs)
}

func merged(a, b map[string]string) map[string]string {
	all := map[string]string{}
	maps.Copy(all, a)
	maps.Copy(all, b)
	return all
}

// checkOwn checks that the plugins of this project exist, which says more than the compiler would.
func (l *list) checkOwn(root string) error {
	var errs []error
	for _, section := range l.sections() {
		for _, p := range *section.plugins {
			folder, own := strings.CutPrefix(p.Import, ownModule+"/")
			if !own || p.GoMod != "" {
				continue
			}
			if found, err := filepath.Glob(filepath.Join(root, filepath.FromSlash(folder), "*.go")); err != nil || len(found) == 0 {
				errs = append(errs, fmt.Errorf("plugins.%s: %s: no Go package in %s", section.name, p.Import, folder))
			}
		}
	}
	return errors.Join(errs...)
}
