package scaffold

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

var (
	commonLine = regexp.MustCompile(`^\s+common:\s*$`)
	importLine = regexp.MustCompile(`^(\s+)- import:\s*"?([^"\s]+)"?\s*$`)
)

// addImport adds a package to the list "common" of plugins.yml's text, in its place by name. Everything else,
// comments too, stays as it is.
func addImport(text, path string) (string, error) {
	lines := strings.Split(text, "\n")
	common := slices.IndexFunc(lines, commonLine.MatchString)
	if common < 0 {
		return "", errors.New(`there is no line "common:" to add the plugin under`)
	}
	at, indent := common+1, "    "
	for i := common + 1; i < len(lines); i++ {
		match := importLine.FindStringSubmatch(lines[i])
		if match == nil {
			if line := strings.TrimSpace(lines[i]); strings.HasSuffix(line, ":") && !strings.HasPrefix(line, "#") {
				break // the next list
			}
			continue
		}
		if match[2] == path {
			return "", fmt.Errorf("%s is listed already", path)
		}
		indent = match[1]
		if match[2] < path {
			at = i + 1
		}
	}
	return strings.Join(slices.Insert(lines, at, fmt.Sprintf("%s- import: %q", indent, path)), "\n"), nil
}
