// Licences checks that everything that is compiled into flinktail, for every system that it is built for, and everything that is packed
// into the listener's jars, has a licence that we may ship under Apache-2.0. Run it in tools/, with "make lint". It needs no network but
// for modules.
package main

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/google/licensecheck"
)

// allowed are SPDX identifiers of licences that ask of us no more than to keep their notice. MPL-2.0 asks for the source of its own files
// too, which a reference to the unchanged module gives.
var allowed = []string{"Apache-2.0", "MIT", "BSD-2-Clause", "BSD-2-Clause-Views", "BSD-3-Clause", "ISC", "MPL-2.0"}

// systems are those that flinktail is built for: some modules are for one alone.
var systems = []string{"linux", "darwin", "windows"}

// enough is how much of a licence's file the known licences must make up, in percent; the rest is copyright lines.
const enough = 75

const root = ".."

func main() {
	var errs []error
	modules, err := compiled()
	if err == nil {
		for _, m := range modules {
			errs = append(errs, m.check())
		}
	}
	if err := errors.Join(append(errs, err, checkJars())...); err != nil {
		fmt.Fprintf(os.Stderr, "%v\nAllowed are %s. Do without it, or, when its licence is one of that kind, add that to tools/licences.\n", err, strings.Join(allowed, ", "))
		os.Exit(1)
	}
	fmt.Printf("licences of %d modules: all allowed\n", len(modules))
}

// module is a module and the folders of its packages that are compiled in.
type module struct {
	Path, Version, Dir string

	folders []string
}

// compiled lists the modules that flinktail consists of, but itself.
func compiled() ([]*module, error) {
	byPath := map[string]*module{}
	var list []*module
	for _, system := range systems {
		cmd := exec.Command("go", "list", "-deps", "-json=Dir,Module", ".")
		cmd.Dir, cmd.Stderr = root, os.Stderr
		cmd.Env = append(os.Environ(), "GOOS="+system, "CGO_ENABLED=0")
		out, err := cmd.Output()
		if err != nil {
			return nil, fmt.Errorf("list what %s is compiled of: %w", system, err)
		}
		for decoder := json.NewDecoder(bytes.NewReader(out)); ; {
			var pkg struct {
				Dir    string
				Module *struct {
					module
					Main bool
				}
			}
			if err := decoder.Decode(&pkg); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				return nil, fmt.Errorf("read what go list says: %w", err)
			}
			if pkg.Module == nil || pkg.Module.Main { // Go's own packages, and ours
				continue
			}
			m := byPath[pkg.Module.Path]
			if m == nil {
				m = &pkg.Module.module
				byPath[m.Path] = m
				list = append(list, m)
			}
			m.folders = append(m.folders, pkg.Dir)
		}
	}
	return list, nil
}

var licenceName = regexp.MustCompile(`(?i)^(un)?(licen[cs]e|copying|copyright)([-._].*)?$`)

// check reads the licences of the module: those in its root, and those in the folders of its packages and above them, as code from elsewhere
// has its own.
func (m *module) check() error {
	var errs []error
	seen := map[string]bool{}
	files := 0
	for _, folder := range m.folders {
		for ; !seen[folder] && strings.HasPrefix(folder, m.Dir); folder = filepath.Dir(folder) {
			seen[folder] = true
			entries, err := os.ReadDir(folder)
			errs = append(errs, err)
			for _, entry := range entries {
				if entry.Type().IsRegular() && licenceName.MatchString(entry.Name()) && filepath.Ext(entry.Name()) != ".go" {
					files++
					errs = append(errs, m.checkFile(filepath.Join(folder, entry.Name())))
				}
			}
		}
	}
	if files == 0 {
		errs = append(errs, fmt.Errorf("%s %s has no licence", m.Path, m.Version))
	}
	return errors.Join(errs...)
}

func (m *module) checkFile(path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	name, _ := filepath.Rel(m.Dir, path)
	found := licensecheck.Scan(text)
	if found.Percent < enough {
		return fmt.Errorf("%s %s: %s is no licence that is known (%.0f%% of it is)", m.Path, m.Version, name, found.Percent)
	}
	for _, licence := range found.Match {
		if !slices.Contains(allowed, licence.ID) {
			return fmt.Errorf("%s %s: %s is %s", m.Path, m.Version, name, licence.ID)
		}
	}
	return nil
}

// ours is the only code in the jars: Flink has what else they use.
const ours = "com.github.flinktail"

// checkJars checks that the jars hold nothing of others, so that there is no licence to look at.
func checkJars() error {
	files, err := filepath.Glob(filepath.Join(root, "listener", "*", "pom.xml"))
	if err != nil || len(files) == 0 {
		return fmt.Errorf("find the listener's pom.xml: %w", errors.Join(err, os.ErrNotExist))
	}
	var errs []error
	for _, file := range append(files, filepath.Join(root, "listener", "pom.xml")) {
		var project struct {
			Dependencies []struct {
				Group    string `xml:"groupId"`
				Artifact string `xml:"artifactId"`
				Scope    string `xml:"scope"`
			} `xml:"dependencies>dependency"`
		}
		text, err := os.ReadFile(file)
		if err == nil {
			err = xml.Unmarshal(text, &project)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", file, err))
		}
		for _, d := range project.Dependencies {
			if d.Scope != "provided" && d.Scope != "test" && d.Group != ours && d.Group != "${project.groupId}" {
				errs = append(errs, fmt.Errorf("%s: %s:%s would be packed into the jar: make its scope provided or test", file, d.Group, d.Artifact))
			}
		}
	}
	return errors.Join(errs...)
}
