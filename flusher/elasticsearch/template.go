package elasticsearch

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"github.com/elastic/go-elasticsearch/v8/esapi"

	"github.com/flinktail/flinktail/pipeline"
	"github.com/flinktail/flinktail/protocol"
	"github.com/flinktail/flinktail/protocol/flink"
)

// templateVersion is to be raised with every change of the template: an installed one of a lower version is replaced.
const templateVersion = 1

// object is a JSON object.
type object map[string]any

// maxKeyword is how many characters of a value can be searched as a whole; it is kept however long it is. Lucene's limit is
// 32766 bytes.
const maxKeyword = 1024

// texts are the fields that people search for words. Of true ones the whole can be searched too, as field.keyword.
var texts = map[string]bool{
	"stack_trace": false, flink.FieldMessage: true, flink.FieldExceptionText: true, flink.FieldRootMessage: true,
}

// templateName names the index template after the indices it is for.
func templateName(glob string) string { return "flinktail-" + strings.ReplaceAll(glob, "*", "_") }

// template returns the index template for the indices that glob matches.
func template(glob string, dataStream bool) ([]byte, error) {
	keyword := object{"type": "keyword", "ignore_above": maxKeyword}
	flattened := object{"type": "flattened", "ignore_above": maxKeyword}
	properties := object{
		// Labels are named like label.app and label.app.kubernetes.io/name: without subobjects one may be the beginning of another.
		"label": object{"type": "object", "subobjects": false},
	}
	for _, field := range flink.Fields.Fields() {
		withKeyword, isText := texts[field.Name]
		switch {
		case withKeyword:
			properties[field.Name] = object{"type": "text", "fields": object{"keyword": keyword}}
		case isText:
			properties[field.Name] = object{"type": "text"}
		case field.Type == protocol.TypeTimestamp:
			properties[field.Name] = object{"type": "date_nanos"}
		case field.Type == protocol.TypeLong, field.Type == protocol.TypeBoolean:
			properties[field.Name] = object{"type": field.Type}
		case field.Type == protocol.TypeJSON:
			properties[field.Name] = flattened
		default:
			properties[field.Name] = keyword
		}
	}
	t := object{
		"index_patterns": []string{glob},
		// Above Elasticsearch's own templates (100); of two that match the one that says more.
		"priority": 200 + len(strings.ReplaceAll(glob, "*", "")),
		"version":  templateVersion,
		"_meta":    object{"description": "types of Flink's events", "managed_by": "flinktail"},
		"template": object{"mappings": object{
			// What is not declared must not be guessed from the first event that has it.
			"date_detection": false,
			"dynamic_templates": []object{
				{"labels": object{"path_match": "label.*", "mapping": keyword}},
				{"objects": object{"match_mapping_type": "object", "mapping": flattened}},
				{"texts": object{"match_mapping_type": "string", "mapping": keyword}},
			},
			"properties": properties,
		}},
	}
	if dataStream {
		t["data_stream"] = object{}
		properties[timestamp] = object{"type": "date_nanos"}
	}
	return json.MarshalIndent(t, "", "  ")
}

// ensureTemplate installs the index template unless it is there, once.
func (f *Flusher) ensureTemplate() error {
	if f.installed.Load() {
		return nil
	}
	f.installing.Lock()
	defer f.installing.Unlock()
	if f.installed.Load() {
		return nil
	}
	ctx, cancel := context.WithTimeout(f.ctx, f.Timeout)
	defer cancel()
	if err := f.installTemplate(ctx); err != nil {
		return fmt.Errorf("install the index template (or set InstallTemplate to false): %w", err)
	}
	f.installed.Store(true)
	return nil
}

func (f *Flusher) installTemplate(ctx context.Context) error {
	glob := f.pattern.Glob()
	name := templateName(glob)
	log := f.context.Logger().With("template", name, "version", templateVersion)
	body, status, err := f.ask(ctx, esapi.IndicesGetIndexTemplateRequest{
		Name: name, FilterPath: []string{"index_templates.index_template.version", "index_templates.index_template.data_stream"},
	})
	if err != nil {
		return err
	}
	if status == http.StatusOK {
		version, dataStream, err := readTemplate(body)
		if err != nil {
			return err
		}
		if version > templateVersion || version == templateVersion && dataStream == f.DataStream {
			log.Info("the index template is there", "installed", version)
			return nil
		}
	}
	text, err := template(glob, f.DataStream)
	if err != nil {
		return fmt.Errorf("make it: %w", err)
	}
	if _, status, err = f.ask(ctx, esapi.IndicesPutIndexTemplateRequest{Name: name, Body: bytes.NewReader(text)}); err != nil {
		return err
	}
	if status != http.StatusOK {
		return pipeline.Blocked(fmt.Errorf("elasticsearch answers %d to PUT _index_template/%s", status, name))
	}
	log.Info("the index template is installed")
	return nil
}

// readTemplate reads the answer to GET _index_template.
func readTemplate(body []byte) (version int, dataStream bool, err error) {
	var answer struct {
		Templates []struct {
			Template struct {
				Version    int             `json:"version"`
				DataStream json.RawMessage `json:"data_stream"`
			} `json:"index_template"`
		} `json:"index_templates"`
	}
	// A template without either leaves nothing of the answer but {}.
	if err := json.Unmarshal(body, &answer); err != nil {
		return 0, false, fmt.Errorf("read the installed one: %w", err)
	}
	for _, t := range answer.Templates {
		version, dataStream = t.Template.Version, t.Template.DataStream != nil
	}
	return version, dataStream, nil
}

// ask sends a request of a few bytes; a status of 404 is no error.
func (f *Flusher) ask(ctx context.Context, q esapi.Request) (body []byte, status int, err error) {
	connection, err := f.current()
	if err != nil {
		return nil, 0, err
	}
	var into bytes.Buffer
	answer, err := connection.send(ctx, request{Request: q}, &into, maxErrorBody)
	if err != nil {
		return nil, 0, f.undelivered(connection, err)
	}
	if isElasticsearch(answer.header) && answer.status == http.StatusNotFound || answer.status/100 == 2 {
		return answer.body, answer.status, nil
	}
	return nil, 0, refused(answer)
}
