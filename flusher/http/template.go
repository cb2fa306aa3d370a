package httpflusher

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"text/template"
	"time"

	"github.com/flinktail/flinktail/protocol"
	"github.com/flinktail/flinktail/protocol/flink"
)

// templateFunctions are there beside those of text/template. The text at hand comes last, as pipelines have it.
var templateFunctions = template.FuncMap{
	"json":    toJSON,
	"upper":   strings.ToUpper,
	"lower":   strings.ToLower,
	"default": defaultText,
	"date":    date,
	"cut":     cut,
}

func parseTemplate(text string) (*template.Template, error) {
	// A map of strings and missingkey=zero make "" of a field that an event does not have.
	t, err := template.New("Template").Option("missingkey=zero").Funcs(templateFunctions).Parse(text)
	if err != nil {
		return nil, errors.New("line " + strings.TrimPrefix(err.Error(), "template: Template:"))
	}
	return t, nil
}

var errEmpty = errors.New("the template makes nothing of this event; to choose events, use Match")

// execute makes the body for the event at i.
func (b *batch) execute(i int) ([]byte, error) {
	at := b.events[i]
	g := b.groups[at.group]
	b.setFields(g, g.Logs[at.log])
	b.text.Reset()
	if err := b.endpoint.template.Execute(&b.text, b.fields); err != nil {
		return nil, fmt.Errorf("execute template: %w", err)
	}
	body := b.text.Bytes()
	switch {
	case len(bytes.TrimSpace(body)) == 0:
		return nil, errEmpty
	case b.endpoint.wantsJSON && !json.Valid(body): // it is not shown: the template may hold a key
		return nil, fmt.Errorf("the template makes no JSON of this event%s; write {{json .field}} without quotes around it", whereNoJSON(body))
	}
	return b.packer.pack(body), nil
}

// setFields makes b.fields those of an event: its own, and its group's tags.
func (b *batch) setFields(g *protocol.LogGroup, log *protocol.Log) {
	clear(b.fields)
	for _, tag := range g.LogTags {
		b.fields[tag.GetKey()] = tag.GetValue()
	}
	for i := len(log.Contents) - 1; i >= 0; i-- { // of fields with one name the first counts
		b.fields[log.Contents[i].GetKey()] = log.Contents[i].GetValue()
	}
	b.fields[flink.FieldEventTime] = string(protocol.AppendTime(nil, log.GetTime(), log.GetTimeNs()))
}

// whereNoJSON says what is wrong with a body that is no JSON.
func whereNoJSON(body []byte) string {
	var syntax *json.SyntaxError
	if err := json.Unmarshal(body, new(any)); errors.As(err, &syntax) {
		return fmt.Sprintf(", at its byte %d: %v", syntax.Offset, syntax)
	}
	return ""
}

// toJSON renders a value as JSON, on one line, fit for a body and not for a web page: "<" stays.
func toJSON(value any) (string, error) {
	var text strings.Builder
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		return "", err
	}
	return strings.TrimSuffix(text.String(), "\n"), nil
}

func defaultText(instead, text string) string {
	if text == "" {
		return instead
	}
	return text
}

// date renders an RFC 3339 time in a layout of package time.
func date(layout, text string) (string, error) {
	if text == "" {
		return "", nil
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return "", fmt.Errorf("%q is no time such as %s", text, time.RFC3339)
	}
	return at.Format(layout), nil
}

// cut returns the first n characters.
func cut(n int, text string) string {
	for i := range text {
		if n--; n < 0 {
			return text[:i]
		}
	}
	return text
}
