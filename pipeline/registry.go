package pipeline

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
)

// Category is what a plugin is; its value is the prefix of the plugin's name, without the "_".
type Category string

// The three categories.
const (
	CategoryInput     Category = "input"
	CategoryProcessor Category = "processor"
	CategoryFlusher   Category = "flusher"
)

var registry = struct {
	sync.RWMutex
	constructors map[string]func() any
}{constructors: map[string]func() any{}}

// Register makes a plugin known under its name, for example "flusher_kafka". The constructor returns a
// pointer to the plugin's struct with the defaults filled in. Call it from init; it
// panics on a name without a category's prefix, on a duplicate, and on a constructor that returns something
// that is not of the category, so that a mistake shows at the first start.
func Register(name string, constructor func() any) {
	category, ok := CategoryOf(name)
	if !ok {
		panic(fmt.Sprintf("pipeline: register %q: the name must start with input_, processor_ or flusher_", name))
	}
	if plugin := constructor(); !category.implementedBy(plugin) {
		panic(fmt.Sprintf("pipeline: register %q: %T is not a pipeline %s", name, plugin, category))
	}
	registry.Lock()
	defer registry.Unlock()
	if _, taken := registry.constructors[name]; taken {
		panic(fmt.Sprintf("pipeline: register %q: the name is taken", name))
	}
	registry.constructors[name] = constructor
}

// New returns a new plugin of that name with its defaults, and false for an unknown name.
func New(name string) (plugin any, ok bool) {
	registry.RLock()
	defer registry.RUnlock()
	constructor, ok := registry.constructors[name]
	if !ok {
		return nil, false
	}
	return constructor(), true
}

// Names returns the names of the registered plugins, sorted.
func Names() []string {
	registry.RLock()
	defer registry.RUnlock()
	return slices.Sorted(maps.Keys(registry.constructors))
}

// CategoryOf returns the category a plugin's name belongs to by its prefix.
func CategoryOf(name string) (Category, bool) {
	for _, c := range []Category{CategoryInput, CategoryProcessor, CategoryFlusher} {
		if rest, ok := strings.CutPrefix(name, string(c)+"_"); ok && rest != "" {
			return c, true
		}
	}
	return "", false
}

func (c Category) implementedBy(plugin any) bool {
	var ok bool
	switch c {
	case CategoryInput:
		_, ok = plugin.(Input)
	case CategoryProcessor:
		_, ok = plugin.(Processor)
	case CategoryFlusher:
		_, ok = plugin.(Flusher)
	}
	return ok
}
