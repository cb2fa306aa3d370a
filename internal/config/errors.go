package config

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
)

// Error is one thing that is wrong in a pipeline's file. It never holds the value of a variable, of a file, of a
// [pipeline.Secret] or of an option whose name looks secret.
type Error struct {
	File         string
	Line, Column int    // from 1; 0 when the whole file is meant
	Path         string // "flushers[1].detail.Brokers", empty when the whole file is meant
	Message      string
}

// Error renders "example.json:12:7: flushers[1].detail.Brokres: unknown field".
func (e Error) Error() string {
	var b strings.Builder
	b.WriteString(e.File)
	for _, n := range []int{e.Line, e.Column} {
		if n > 0 {
			b.WriteString(":" + strconv.Itoa(n))
		}
	}
	if e.Path != "" {
		b.WriteString(": " + e.Path)
	}
	b.WriteString(": " + e.Message)
	return b.String()
}

// Errors is all that is wrong, by file and place.
type Errors []Error

// Error renders one error a line.
func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i := range e {
		lines[i] = e[i].Error()
	}
	return strings.Join(lines, "\n")
}

// sort puts the errors of one file in the order of their places.
func (e Errors) sort() {
	slices.SortStableFunc(e, func(a, b Error) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
}
