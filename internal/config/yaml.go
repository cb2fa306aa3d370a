package config

import (
	"bytes"
	"errors"
	"io"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// errTag does not name the tag, which may be a password.
const errTag = `unknown tag; put a text that begins with "!" in quotes`

var yamlErrorLine = regexp.MustCompile(`^line (\d+): `)

// parseYAML reads one YAML document with the places of its values.
func parseYAML(text []byte) (*node, *syntaxError) {
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	var document, second yaml.Node
	if err := decoder.Decode(&document); err != nil {
		if errors.Is(err, io.EOF) {
			return nil, &syntaxError{message: "the file is empty"}
		}
		return nil, yamlSyntaxError(err)
	}
	if err := decoder.Decode(&second); err == nil {
		return nil, &syntaxError{message: `a second document begins here; write one pipeline a file`, line: second.Line, column: second.Column}
	} else if !errors.Is(err, io.EOF) {
		return nil, yamlSyntaxError(err)
	}
	if len(document.Content) == 0 {
		return nil, &syntaxError{message: "the file is empty"}
	}
	return yamlNode(document.Content[0], 1), nil
}

func yamlSyntaxError(err error) *syntaxError {
	failure := &syntaxError{message: strings.TrimPrefix(err.Error(), "yaml: ")}
	if strings.Contains(failure.message, "anchor '") { // it quotes what may be a password
		failure.message = `aliases are not supported; put a text that begins with "*" in quotes`
	}
	if match := yamlErrorLine.FindStringSubmatch(failure.message); match != nil {
		failure.line, _ = strconv.Atoi(match[1])
		failure.message = failure.message[len(match[0]):]
	}
	return failure
}

func yamlNode(y *yaml.Node, depth int) *node {
	n := &node{raw: y.Value, text: y.Value, line: y.Line, column: y.Column}
	switch {
	case depth > maxDepth:
		return n.invalid(errTooDeep.Error())
	case y.Kind == yaml.AliasNode:
		return n.invalid("aliases are not supported; write the value out, or use ${VARIABLE}")
	case y.Kind == yaml.SequenceNode && y.ShortTag() == "!!seq":
		n.kind = kindList
		for _, item := range y.Content {
			n.items = append(n.items, yamlNode(item, depth+1))
		}
		return n
	case y.Kind == yaml.MappingNode && y.ShortTag() == "!!map":
		n.kind = kindObject
		for i := 0; i+1 < len(y.Content); i += 2 {
			key := y.Content[i]
			e := entry{key: key.Value, line: key.Line, column: key.Column}
			switch {
			case key.Kind != yaml.ScalarNode:
				e.value = (&node{line: key.Line, column: key.Column}).invalid("a key must be text")
			case key.ShortTag() == "!!merge":
				e.value = (&node{line: key.Line, column: key.Column}).invalid(`merge keys are not supported; write the values out`)
			default:
				e.value = yamlNode(y.Content[i+1], depth+1)
			}
			n.entries = append(n.entries, e)
		}
		return n
	case y.Kind == yaml.ScalarNode:
		return n.scalar(y)
	}
	return n.invalid(errTag)
}

func (n *node) scalar(y *yaml.Node) *node {
	switch y.ShortTag() {
	case "!!str", "!!timestamp":
		n.kind = kindText
	case "!!null":
		n.kind = kindNull
	case "!!bool":
		n.kind, n.text = kindBoolean, strings.ToLower(y.Value)
	case "!!int": // YAML's own notations: 0x10, 1_000
		n.kind = kindNumber
		var signed int64
		var unsigned uint64
		if y.Decode(&signed) == nil {
			n.text = strconv.FormatInt(signed, 10)
		} else if y.Decode(&unsigned) == nil {
			n.text = strconv.FormatUint(unsigned, 10)
		}
	case "!!float":
		n.kind = kindNumber
		var f float64
		if y.Decode(&f) == nil {
			n.text = strconv.FormatFloat(f, 'g', -1, 64)
		}
	default:
		return n.invalid(errTag)
	}
	return n
}

func (n *node) invalid(message string) *node {
	n.kind, n.text = kindInvalid, message
	return n
}
