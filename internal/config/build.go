package config

import (
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/flinktail/flinktail/pipeline"
)

// lists are the keys that plugins stand under.
var lists = []struct {
	key      string
	category pipeline.Category
}{
	{"inputs", pipeline.CategoryInput},
	{"processors", pipeline.CategoryProcessor},
	{"flushers", pipeline.CategoryFlusher},
}

var topLevel = []string{"global", "inputs", "processors", "flushers"}

// elsewhere says what flinktail does instead of what iLogtail has under these keys.
var elsewhere = map[string]string{
	"aggregators": `flinktail has no aggregators: it batches by itself; remove this, and set "Batch" beside a flusher's "detail" if its defaults do not fit`,
	"extensions":  `flinktail has no extensions: what they do is an option of the plugin that would use them; remove this and see "flinktail plugins NAME"`,
}

var pluginID = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*$`)

func (d *decoder) pipeline(root *node, name string) *Pipeline {
	p := &Pipeline{Name: name, File: d.file, Global: DefaultGlobal()}
	d.places[""] = [2]int{root.line, root.column}
	d.prepare(root, "")
	if root.kind != kindObject {
		d.wrongType(root, "", "an object with inputs and flushers")
		return p
	}
	for _, e := range root.entries {
		if e.value.kind == kindInvalid || slices.Contains(topLevel, e.key) {
			continue
		} else if instead, ok := elsewhere[e.key]; ok {
			d.fail(e.key, "%s", instead)
		} else {
			d.unknownField("", e.key, topLevel)
		}
	}
	if global := root.get("global"); global != nil {
		d.global(global, &p.Global)
	}
	p.Inputs = d.plugins(root, "inputs", pipeline.CategoryInput)
	p.Processors = d.plugins(root, "processors", pipeline.CategoryProcessor)
	p.Flushers = d.plugins(root, "flushers", pipeline.CategoryFlusher)
	return p
}

func (d *decoder) global(n *node, g *Global) {
	d.decode(n, reflect.ValueOf(g).Elem(), "global", limits{})
	d.queue(&g.Queue)
	d.notEmpty("global.DeadLetter.MaxBytes", g.DeadLetter.MaxBytes)
	d.notEmpty("global.DeadLetter.MaxFileBytes", g.DeadLetter.MaxFileBytes)
	if letters := &g.DeadLetter; letters.MaxFileBytes > letters.MaxBytes {
		if at := "global.DeadLetter.MaxFileBytes"; d.given(at) {
			d.fail(at, "must not be larger than MaxBytes")
		}
		letters.MaxFileBytes = letters.MaxBytes
	}
}

func (d *decoder) queue(q *Queue) {
	const size = "global.Queue.MaxBytes"
	switch {
	case q.Type == QueueMemory:
		if !d.given(size) {
			q.MaxBytes = memoryQueueBytes
		}
		d.notEmpty(size, q.MaxBytes)
		if at := "global.Queue.MinFreeBytes"; d.given(at) {
			d.fail(at, "only a queue on disk has this")
		}
	case q.MaxBytes < pipeline.MiB && !d.reported(size):
		d.fail(size, "must be at least 1MiB for a queue on disk")
	}
}

func (d *decoder) given(path string) bool {
	_, given := d.places[path]
	return given
}

func (d *decoder) notEmpty(path string, size pipeline.Size) {
	if size == 0 && !d.reported(path) {
		d.fail(path, "must be at least 1B")
	}
}

// plugins decodes one of the lists.
func (d *decoder) plugins(root *node, key string, category pipeline.Category) []Plugin {
	n := root.get(key)
	required := category != pipeline.CategoryProcessor
	switch {
	case n == nil || n.kind == kindNull || n.kind == kindList && len(n.items) == 0:
		if required && !d.reported(key) {
			d.fail(key, "a pipeline needs at least one %s", category)
		}
		return nil
	case n.bad:
		return nil
	case n.kind != kindList:
		d.wrongType(n, key, "a list of "+key)
		return nil
	}
	var plugins []Plugin
	names := map[string]bool{}
	for i, item := range n.items {
		p := Plugin{Path: index(key, i)}
		d.plugin(item, &p, category)
		if p.Name != "" && names[p.Name] {
			at := p.Path + ".type"
			d.fail(at, `%s is here twice; tell them apart by an id of your choice, such as "%s/%d"`, shown(item.get("type"), at), p.Type, i+1)
		}
		names[p.Name] = true
		plugins = append(plugins, p)
	}
	return plugins
}

// plugin decodes one entry of a list into p, which knows its path.
func (d *decoder) plugin(n *node, p *Plugin, category pipeline.Category) {
	if n.bad {
		return
	}
	if n.kind != kindObject {
		d.wrongType(n, p.Path, `an object with "type" and "detail"`)
		return
	}
	d.pluginType(n, p, category)
	beside := reflect.ValueOf(&struct{}{}).Elem()
	if category == pipeline.CategoryFlusher {
		p.Delivery = DefaultDelivery()
		beside = reflect.ValueOf(&p.Delivery).Elem()
	}
	deliveryNames := fieldNames(optionFields(reflect.TypeFor[Delivery]()))
	besideNames := append([]string{"type", "detail"}, fieldNames(optionFields(beside.Type()))...)
	var optionNames []string
	if p.Instance != nil {
		optionNames = fieldNames(optionFields(reflect.TypeOf(p.Instance).Elem()))
	}
	misplaced := false
	d.object(n, beside, p.Path, func(key string) string {
		switch {
		case key == "type" || key == "detail":
			return handled
		case slices.Contains(deliveryNames, key):
			return "only flushers have this"
		case slices.Contains(optionNames, key):
			misplaced = true
			return fmt.Sprintf(`this is an option of %s; write it inside "detail"`, p.Type)
		}
		d.unknownField(p.Path, key, besideNames)
		return handled
	})
	if category == pipeline.CategoryFlusher {
		d.delivery(p)
	}
	if p.Instance == nil {
		return
	}
	path := p.Path + ".detail"
	if detail := n.get("detail"); detail != nil {
		detail.secret = holdsSecret(reflect.TypeOf(p.Instance))
		d.object(detail, reflect.ValueOf(p.Instance).Elem(), path, func(key string) string {
			if category == pipeline.CategoryFlusher && slices.Contains(deliveryNames, key) {
				return `this is no option of the plugin; write it beside "detail"`
			}
			if len(optionNames) == 0 {
				return fmt.Sprintf("unknown field; %s has no options", p.Type)
			}
			return ""
		})
	}
	detail := n.get("detail")
	p.Sum = detail.sum()
	p.New = func() any {
		instance, _ := pipeline.New(p.Type)
		again := decoder{file: d.file, places: d.places, failed: map[string]bool{}}
		if detail != nil {
			again.object(detail, reflect.ValueOf(instance).Elem(), path, nil)
		}
		if validator, ok := instance.(pipeline.Validator); ok {
			_ = validator.Validate() // as it was called for the first one, which passed
		}
		return instance
	}
	if misplaced {
		return // that they are missing in detail follows
	}
	if validator, ok := p.Instance.(pipeline.Validator); ok {
		d.invalid(validator.Validate(), path)
	}
}

// pluginType reads "type" and makes the instance; p.Instance stays nil when there is no such plugin.
func (d *decoder) pluginType(n *node, p *Plugin, category pipeline.Category) {
	path := p.Path + ".type"
	value := n.get("type")
	if i := slices.IndexFunc(n.entries, func(e entry) bool { return strings.EqualFold(e.key, "type") }); value == nil && i >= 0 {
		value = n.entries[i].value // the key is reported; the value tells what the rest means
	}
	switch {
	case value == nil:
		d.fail(path, `is missing; name the plugin, such as "%s_…"; "flinktail plugins" lists them`, category)
		return
	case value.bad:
		return
	case value.kind != kindText:
		d.wrongType(value, path, "text")
		return
	}
	name, id, hasID := strings.Cut(value.text, "/")
	if hasID && !pluginID.MatchString(id) {
		d.fail(path, `the id after "/" may hold letters, digits, ".", "_" and "-"`)
	}
	if is, ok := pipeline.CategoryOf(name); ok && is != category {
		for _, list := range lists {
			if list.category == is {
				d.fail(path, "%s is of category %s; write it under %q", shown(value, path), is, list.key)
			}
		}
		return
	}
	instance, ok := pipeline.New(name)
	if !ok {
		d.unknownPlugin(value, name, path, category)
		return
	}
	if reflect.TypeOf(instance).Kind() != reflect.Pointer || reflect.TypeOf(instance).Elem().Kind() != reflect.Struct {
		d.fail(path, "the constructor of %s returns %T, not a pointer to a struct; this is a fault of the plugin", name, instance)
		return
	}
	p.Type, p.Name, p.Instance = name, value.text, instance
}

func (d *decoder) unknownPlugin(value *node, name, path string, category pipeline.Category) {
	var known []string
	for _, candidate := range pipeline.Names() {
		if is, _ := pipeline.CategoryOf(candidate); is == category {
			known = append(known, candidate)
		}
	}
	meant := ""
	if slices.Contains(known, string(category)+"_"+name) {
		meant = string(category) + "_" + name
	} else if value.raw == value.text {
		meant = nearest(name, known)
	}
	hint := ""
	if meant != "" {
		hint = fmt.Sprintf("did you mean %q? ", meant)
	}
	d.fail(path, `unknown plugin %s; %s"flinktail plugins" lists them`, shown(value, path), hint)
}

// delivery checks what one field's limits cannot.
func (d *decoder) delivery(p *Plugin) {
	retry := p.Path + ".Retry"
	d.notEmpty(p.Path+".Batch.MaxBytes", p.Delivery.Batch.MaxBytes)
	if p.Delivery.Retry.Initial == 0 && !d.reported(retry+".Initial") {
		d.fail(retry+".Initial", "must be longer than 0s")
	}
	if pauses := &p.Delivery.Retry; pauses.Max < pauses.Initial {
		if at := retry + ".Max"; d.given(at) && !d.reported(at) {
			d.fail(at, "must not be shorter than Initial")
		}
		pauses.Max = pauses.Initial
	}
	for field, patterns := range p.Delivery.Match {
		if at := join(p.Path+".Match", field); len(patterns) == 0 && !d.reported(at) {
			d.fail(at, "matches nothing; give at least one pattern")
		}
	}
}

// invalid reports what a plugin's Validate found, but for what follows from errors already reported.
func (d *decoder) invalid(err error, path string) {
	if err == nil {
		return
	}
	var found []Error
	collect(&found, err, path)
	found = slices.DeleteFunc(found, func(e Error) bool { return d.reported(e.Path) })
	for _, e := range found {
		d.fail(e.Path, "%s", conceal(e.Message, d.values))
	}
}

// collect flattens joined errors, and puts the options that they name behind path.
func collect(found *[]Error, err error, path string) {
	for _, e := range unjoin(err) {
		if option := (*pipeline.OptionError)(nil); errors.As(e, &option) {
			collect(found, option.Err, path+"."+option.Option)
		} else {
			*found = append(*found, Error{Path: path, Message: e.Error()})
		}
	}
}

// reported tells whether an error stands at path, above it or below it.
func (d *decoder) reported(path string) bool {
	for failed := range d.failed {
		if failed == path || within(failed, path) || within(path, failed) {
			return true
		}
	}
	return false
}

// within tells whether path lies below parent.
func within(path, parent string) bool {
	rest, ok := strings.CutPrefix(path, parent)
	return ok && parent != "" && (strings.HasPrefix(rest, ".") || strings.HasPrefix(rest, "["))
}
