package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

var extensions = []string{".json", ".yaml", ".yml"}

// Load reads a pipeline's file, or every *.json, *.yaml and *.yml of a folder, sorted; hidden files and folders in it
// are passed over. A pipeline has its file's name without the extension. The error, if any, is Errors: all that is
// wrong in all files.
func Load(path string) ([]*Pipeline, error) {
	files, err := Files(path)
	if err != nil {
		return nil, Errors{{File: path, Message: err.Error()}}
	}
	var pipelines []*Pipeline
	var errs Errors
	byName := map[string]string{}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), filepath.Ext(file))
		if other, taken := byName[name]; taken {
			errs = append(errs, Error{File: file, Message: fmt.Sprintf("the pipeline's name %q is taken by %s; rename one of the files", name, other)})
		} else {
			byName[name] = file
		}
		text, err := os.ReadFile(file)
		if err != nil {
			errs = append(errs, Error{File: file, Message: reason(err)})
			continue
		}
		p, wrong := decodeWith(systemSource(filepath.Dir(file)), name, file, text)
		errs = append(errs, wrong...)
		pipelines = append(pipelines, p)
	}
	if len(errs) > 0 {
		return nil, errs
	}
	return pipelines, nil
}

// Files returns the files that [Load] reads at path.
func Files(path string) ([]string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, errors.New(reason(err))
	}
	if !info.IsDir() {
		return []string{path}, nil
	}
	found, err := os.ReadDir(path) // sorted
	if err != nil {
		return nil, errors.New("read folder: " + reason(err))
	}
	var files []string
	for _, f := range found {
		if !f.IsDir() && !strings.HasPrefix(f.Name(), ".") && slices.Contains(extensions, filepath.Ext(f.Name())) {
			files = append(files, filepath.Join(path, f.Name()))
		}
	}
	if len(files) == 0 {
		return nil, errors.New("the folder holds no *.json, *.yaml or *.yml file")
	}
	return files, nil
}

// reason is an error without the path, which stands before it already.
func reason(err error) string {
	if pathError := (*fs.PathError)(nil); errors.As(err, &pathError) {
		return pathError.Err.Error()
	}
	return err.Error()
}

// Decode reads one pipeline's text, JSON or YAML by the file's extension. References to files are relative to the file's
// folder. The error, if any, is Errors.
func Decode(name, file string, text []byte) (*Pipeline, error) {
	p, errs := decodeWith(systemSource(filepath.Dir(file)), name, file, text)
	if len(errs) > 0 {
		return nil, errs
	}
	return p, nil
}

// decodeWith returns a pipeline that may be used only when there are no errors.
func decodeWith(s source, name, file string, text []byte) (*Pipeline, Errors) {
	text = []byte(strings.TrimPrefix(string(text), "\ufeff"))
	var root *node
	var failure *syntaxError
	switch extension := filepath.Ext(file); extension {
	case ".json":
		root, failure = parseJSON(text)
	case ".yaml", ".yml":
		root, failure = parseYAML(text)
	default:
		failure = &syntaxError{message: fmt.Sprintf("extension %q is not known; use .json, .yaml or .yml", extension)}
	}
	if failure == nil && (name == "" || strings.HasPrefix(name, ".") || strings.ContainsAny(name, `/\`)) { // it names folders
		failure = &syntaxError{message: fmt.Sprintf("%q cannot be a pipeline's name; rename the file", name)}
	}
	if failure != nil {
		return nil, Errors{{File: file, Line: failure.line, Column: failure.column, Message: failure.message}}
	}
	d := &decoder{file: file, source: s, places: map[string][2]int{}, failed: map[string]bool{}}
	p := d.pipeline(root, name)
	d.errs.sort()
	return p, d.errs
}
