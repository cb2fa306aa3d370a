package config

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"

	"github.com/invopop/jsonschema"

	"github.com/flinktail/flinktail/pipeline"
)

const (
	referencePattern = `\$\{[^}]+\}`
	durationPattern  = `^(0|([0-9]+(\.[0-9]*)?(ns|us|µs|ms|s|m|h))+)$`
	sizePattern      = `^[0-9]+(\.[0-9]+)? *(KiB|MiB|GiB|kB|KB|MB|GB|B)?$`
	idPattern        = `(/[A-Za-z0-9][A-Za-z0-9._-]*)?`
)

// Schema returns the JSON Schema (2020-12) of a pipeline's file over all registered plugins, indented. A text with a
// ${reference} is allowed for every text, number and boolean. What a plugin's Validate checks is not in it.
func Schema() ([]byte, error) {
	root := &jsonschema.Schema{
		Version:              jsonschema.Version,
		Title:                "flinktail pipeline",
		Type:                 "object",
		Required:             []string{"inputs", "flushers"},
		AdditionalProperties: jsonschema.FalseSchema,
		Properties:           jsonschema.NewProperties(),
		Definitions:          jsonschema.Definitions{},
	}
	global := DefaultGlobal()
	root.Properties.Set("global", described(objectSchema(&global), "what concerns the pipeline as a whole"))
	for _, list := range lists {
		root.Properties.Set(list.key, pluginList(list.category, root.Definitions))
	}
	text, err := json.MarshalIndent(root, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("render schema: %w", err)
	}
	return append(text, '\n'), nil
}

// pluginList is the schema of one of the lists; the options of its plugins go to definitions.
func pluginList(category pipeline.Category, definitions jsonschema.Definitions) *jsonschema.Schema {
	entry := objectSchema(&struct{}{})
	if category == pipeline.CategoryFlusher {
		delivery := DefaultDelivery()
		entry = objectSchema(&delivery)
	}
	var names []any
	for _, name := range pipeline.Names() {
		if is, _ := pipeline.CategoryOf(name); is != category {
			continue
		}
		names = append(names, name)
		instance, _ := pipeline.New(name)
		definition := objectSchema(instance)
		if d, ok := instance.(interface{ Description() string }); ok {
			definition.Description = d.Description()
		}
		definitions[name] = definition
		entry.AllOf = append(entry.AllOf, when(name))
	}
	list := &jsonschema.Schema{Type: "array", Items: entry}
	if category != pipeline.CategoryProcessor {
		least := uint64(1)
		list.MinItems = &least
	}
	if len(names) == 0 {
		list.Items = jsonschema.FalseSchema
		return list
	}
	entry.Required = []string{"type"}
	entry.Properties.Set("type", &jsonschema.Schema{
		Description: fmt.Sprintf(`the plugin, with "/ID" behind it where one is used twice: %s_…/ID`, category),
		AnyOf: []*jsonschema.Schema{
			{Enum: names},
			{Type: "string", Pattern: "^(" + strings.Join(texts(names), "|") + ")" + idPattern + "$"},
			{Type: "string", Pattern: referencePattern},
		},
	})
	entry.Properties.Set("detail", &jsonschema.Schema{Description: "the plugin's options", AnyOf: []*jsonschema.Schema{{Type: "object"}, {Type: "null"}}})
	return list
}

// when binds "detail" to the options of the plugin that "type" names.
func when(name string) *jsonschema.Schema {
	condition := &jsonschema.Schema{Required: []string{"type"}, Properties: jsonschema.NewProperties()}
	condition.Properties.Set("type", &jsonschema.Schema{Type: "string", Pattern: "^" + name + "(/|$)"})
	options := &jsonschema.Schema{Properties: jsonschema.NewProperties()}
	options.Properties.Set("detail", &jsonschema.Schema{AnyOf: []*jsonschema.Schema{{Ref: "#/$defs/" + name}, {Type: "null"}}})
	return &jsonschema.Schema{If: condition, Then: options}
}

// objectSchema is the schema of a struct, given by a pointer to it, with the defaults that it holds.
func objectSchema(instance any) *jsonschema.Schema {
	reflector := jsonschema.Reflector{
		Anonymous:                  true,
		DoNotReference:             true,
		RequiredFromJSONSchemaTags: true,
		FieldNameTag:               "-", // the key is the field's name, whatever other tags say
		Mapper:                     textSchema,
	}
	v := reflect.ValueOf(instance).Elem()
	s := reflector.ReflectFromType(v.Type())
	s.Version = ""
	if s.Properties == nil {
		s.Properties = jsonschema.NewProperties()
	}
	allowReferences(s)
	setDefaults(s, v)
	return s
}

// textSchema is the schema of types that are written as text.
func textSchema(t reflect.Type) *jsonschema.Schema {
	switch {
	case t == durationType:
		return &jsonschema.Schema{Type: "string", Pattern: durationPattern}
	case t == sizeType:
		return &jsonschema.Schema{AnyOf: []*jsonschema.Schema{
			{Type: "string", Pattern: sizePattern}, {Type: "integer", Minimum: "0"}, {Type: "string", Pattern: referencePattern},
		}}
	case t == patternsType:
		one := uint64(1)
		return &jsonschema.Schema{AnyOf: []*jsonschema.Schema{
			{Type: "string"}, {Type: "array", MinItems: &one, Items: &jsonschema.Schema{Type: "string"}},
		}}
	case t == secretType:
		return &jsonschema.Schema{Type: "string", WriteOnly: true}
	case isText(t):
		return &jsonschema.Schema{Type: "string"}
	}
	return nil
}

// allowReferences lets a text with a ${reference} stand for every number, boolean and restricted text in s.
func allowReferences(s *jsonschema.Schema) {
	if s == nil {
		return
	}
	switch {
	case s.Type == "integer" || s.Type == "number" || s.Type == "boolean",
		s.Type == "string" && (s.Pattern != "" || len(s.Enum) > 0):
		strict := *s
		strict.Description = ""
		*s = jsonschema.Schema{Description: s.Description, AnyOf: []*jsonschema.Schema{&strict, {Type: "string", Pattern: referencePattern}}}
	case s.Type == "array":
		allowReferences(s.Items)
	case s.Type == "object":
		allowReferences(s.AdditionalProperties)
		if s.Properties != nil {
			for p := s.Properties.Oldest(); p != nil; p = p.Next() {
				allowReferences(p.Value)
			}
		}
	}
}

func setDefaults(s *jsonschema.Schema, v reflect.Value) {
	for _, f := range optionFields(v.Type()) {
		property, ok := s.Properties.Get(f.Name)
		value := reflect.Indirect(v.FieldByIndex(f.Index))
		if !ok || !value.IsValid() {
			continue
		}
		if value.Kind() == reflect.Struct && property.Properties != nil {
			setDefaults(property, value)
		} else if d, ok := defaultValue(value); ok {
			property.Default = d
		}
	}
}

func described(s *jsonschema.Schema, description string) *jsonschema.Schema {
	s.Description = description
	return s
}

func texts(values []any) []string {
	list := make([]string, len(values))
	for i, v := range values {
		list[i] = fmt.Sprint(v)
	}
	return list
}
