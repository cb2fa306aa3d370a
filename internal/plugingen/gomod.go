package main

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// require adds the modules of plugins that live elsewhere to go.mod. It does nothing when there are none.
func (l *list) require(root string) error {
	if edits := l.edits(); len(edits) > 0 {
		if err := l.goCommand(root, "", append([]string{"mod", "edit"}, edits...)...); err != nil {
			return err
		}
	}
	if modules := l.modules(); len(modules) > 0 {
		return l.goCommand(root, "", append([]string{"get"}, modules...)...)
	}
	return nil
}

// complete adds to go.mod and go.sum what those plugins themselves depend on, by loading internal/all for every
// system that the list has such plugins for.
func (l *list) complete(root string) error {
	for _, section := range l.sections() {
		if len(external(*section.plugins)) == 0 {
			continue
		}
		if err := l.goCommand(root, section.constraint, "list", "-mod=mod", "-deps", "./internal/all"); err != nil {
			return err
		}
	}
	return nil
}

// edits returns the replacements as arguments of "go mod edit".
func (l *list) edits() []string {
	var edits []string
	for _, text := range l.Project.Replaces {
		from, to, _ := strings.Cut(text, "=>")
		edits = append(edits, "-replace="+moduleVersion(from)+"="+moduleVersion(to))
	}
	for _, section := range l.sections() {
		for _, p := range external(*section.plugins) {
			if p.Path != "" {
				module, _, _ := strings.Cut(moduleVersion(p.GoMod), "@")
				edits = append(edits, "-replace="+module+"="+folderPath(p.Path))
			}
		}
	}
	return unique(edits)
}

// modules returns the modules as arguments of "go get".
func (l *list) modules() []string {
	var modules []string
	for _, section := range l.sections() {
		for _, p := range external(*section.plugins) {
			modules = append(modules, moduleVersion(p.GoMod))
		}
	}
	return unique(modules)
}

// external returns the plugins of other modules.
func external(plugins []plugin) []plugin {
	return slices.DeleteFunc(slices.Clone(plugins), func(p plugin) bool { return p.GoMod == "" })
}

// folderPath writes a folder so that go does not take it for a module.
func folderPath(path string) string {
	slashed := filepath.ToSlash(path)
	if filepath.IsAbs(path) || strings.HasPrefix(slashed, "./") || strings.HasPrefix(slashed, "../") {
		return slashed
	}
	return "./" + slashed
}

// moduleVersion writes "module version" as "module@version".
func moduleVersion(text string) string { return strings.Join(strings.Fields(text), "@") }

func unique(texts []string) []string {
	slices.Sort(texts)
	return slices.Compact(texts)
}

// goCommand runs the go command in root, for the given system or, if that is empty, for this one.
func (l *list) goCommand(root, system string, arguments ...string) error {
	command := exec.Command("go", arguments...)
	command.Dir = root
	command.Env = append(os.Environ(), l.environment()...)
	if system != "" {
		command.Env = append(command.Env, "GOOS="+system)
	}
	var messages strings.Builder
	command.Stderr = &messages
	if err := command.Run(); err != nil {
		return fmt.Errorf("go %s: %w\n%s", strings.Join(arguments, " "), err, messages.String())
	}
	return nil
}

// environment passes go_envs and git_configs to the go command; the user's own configuration stays as it is.
func (l *list) environment() []string {
	var environment []string
	for _, name := range slices.Sorted(maps.Keys(l.Project.GoEnvs)) {
		environment = append(environment, name+"="+l.Project.GoEnvs[name])
	}
	for i, key := range slices.Sorted(maps.Keys(l.Project.GitConfigs)) {
		n := strconv.Itoa(i)
		environment = append(environment, "GIT_CONFIG_KEY_"+n+"="+key, "GIT_CONFIG_VALUE_"+n+"="+l.Project.GitConfigs[key])
	}
	if n := len(l.Project.GitConfigs); n > 0 {
		environment = append(environment, "GIT_CONFIG_COUNT="+strconv.Itoa(n))
	}
	return environment
}
