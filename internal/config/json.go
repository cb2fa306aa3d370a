package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"sort"
	"unicode/utf8"
)

// parseJSON reads a JSON text with the places of its values.
func parseJSON(text []byte) (*node, *syntaxError) {
	p := &jsonParser{text: text, lines: lineStarts(text), decoder: json.NewDecoder(bytes.NewReader(text))}
	p.decoder.UseNumber()
	var whole json.RawMessage
	if err := json.Unmarshal(text, &whole); err != nil { // the decoder's tokens alone would accept some malformed texts
		failure := &syntaxError{message: err.Error()}
		if syntax := (*json.SyntaxError)(nil); errors.As(err, &syntax) {
			failure.line, failure.column = p.place(int(syntax.Offset) - 1)
		}
		return nil, failure
	}
	token, line, column, err := p.next()
	if err == nil {
		var n *node
		if n, err = p.value(token, line, column, 1); err == nil {
			return n, nil
		}
	}
	line, column = p.place(int(p.decoder.InputOffset()) - 1)
	return nil, &syntaxError{message: err.Error(), line: line, column: column}
}

type jsonParser struct {
	text    []byte
	lines   []int // offset of each line's first byte
	decoder *json.Decoder
}

// next returns a token and where it begins.
func (p *jsonParser) next() (token json.Token, line, column int, err error) {
	start := int(p.decoder.InputOffset())
	for start < len(p.text) && bytes.IndexByte([]byte(" \t\r\n,:"), p.text[start]) >= 0 {
		start++
	}
	line, column = p.place(start)
	token, err = p.decoder.Token()
	return token, line, column, err
}

func (p *jsonParser) value(token json.Token, line, column, depth int) (*node, error) {
	n := &node{line: line, column: column}
	switch token := token.(type) {
	case nil:
	case bool:
		n.kind, n.text = kindBoolean, "false"
		if token {
			n.text = "true"
		}
	case json.Number:
		n.kind, n.text = kindNumber, token.String()
	case string:
		n.kind, n.text = kindText, token
	case json.Delim:
		if depth > maxDepth {
			return nil, errTooDeep
		}
		return n, p.children(n, token, depth)
	}
	n.raw = n.text
	return n, nil
}

func (p *jsonParser) children(n *node, open json.Delim, depth int) error {
	n.kind = kindList
	if open == '{' {
		n.kind = kindObject
	}
	for p.decoder.More() {
		token, line, column, err := p.next()
		if err != nil {
			return err
		}
		e := entry{line: line, column: column}
		if n.kind == kindObject {
			e.key, _ = token.(string)
			if token, line, column, err = p.next(); err != nil {
				return err
			}
		}
		if e.value, err = p.value(token, line, column, depth+1); err != nil {
			return err
		}
		if n.kind == kindObject {
			n.entries = append(n.entries, e)
		} else {
			n.items = append(n.items, e.value)
		}
	}
	_, err := p.decoder.Token() // the closing delimiter
	return err
}

func lineStarts(text []byte) []int {
	starts := []int{0}
	for i, c := range text {
		if c == '\n' {
			starts = append(starts, i+1)
		}
	}
	return starts
}

// place returns the line and the column, in characters, of an offset.
func (p *jsonParser) place(offset int) (line, column int) {
	offset = max(0, min(offset, len(p.text)))
	line = sort.SearchInts(p.lines, offset+1)
	return line, utf8.RuneCount(p.text[p.lines[line-1]:offset]) + 1
}
