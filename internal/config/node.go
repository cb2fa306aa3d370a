package config

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"slices"
)

// node is a value of a configuration file, the same for JSON and YAML.
type node struct {
	kind         kind
	text         string // text, number, boolean: the value; numbers as strconv reads them; expanded by decoder.prepare
	raw          string // text and numbers as they stand in the file
	expanded     bool   // text in which a reference was replaced: it may stand for a number or a boolean, and may be secret
	secret       bool   // what it is decoded into holds a secret: no message may show it
	bad          bool   // already reported: decoding passes over it
	line, column int

	entries []entry // object, in the file's order, duplicates included
	items   []*node // list
}

type entry struct {
	key          string
	line, column int
	value        *node
}

type kind int

const (
	kindNull kind = iota
	kindText
	kindNumber
	kindBoolean
	kindList
	kindObject
	kindInvalid // text says why
)

// maxDepth bounds the nesting of a file, and with it the recursion here.
const maxDepth = 64

var errTooDeep = fmt.Errorf("nested deeper than %d levels", maxDepth)

// get returns the value of a key, nil when n is no object or has no such key.
func (n *node) get(key string) *node {
	if n != nil && n.kind == kindObject {
		for _, e := range n.entries {
			if e.key == key {
				return e.value
			}
		}
	}
	return nil
}

// syntaxError is a file that is not JSON or YAML.
type syntaxError struct {
	message      string
	line, column int
}

// sum returns a hash of the value, whatever the order of its keys.
func (n *node) sum() string {
	h := sha256.New()
	n.write(h)
	return hex.EncodeToString(h.Sum(nil))
}

func (n *node) write(w io.Writer) {
	if n == nil {
		return
	}
	fmt.Fprintf(w, "%d %d %q %d\n", n.kind, len(n.entries), n.text, len(n.items))
	entries := slices.SortedFunc(slices.Values(n.entries), func(a, b entry) int { return cmp.Compare(a.key, b.key) })
	for _, e := range entries {
		fmt.Fprintf(w, "%q\n", e.key)
		e.value.write(w)
	}
	for _, item := range n.items {
		item.write(w)
	}
}
