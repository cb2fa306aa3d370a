package scaffold

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/flinktail/flinktail/internal/treecopy"
)

// block is a fenced block of a page.
type block struct{ language, text string }

func blocksOf(page string) (blocks []block) {
	inside := false
	for line := range strings.Lines(page) {
		fence, isFence := strings.CutPrefix(line, "```")
		switch {
		case isFence && !inside:
			blocks = append(blocks, block{language: strings.TrimSpace(fence)})
			inside = true
		case isFence:
			inside = false
		case inside:
			blocks[len(blocks)-1].text += line
		}
	}
	return blocks
}

// TestWriteAFlusherPage does what docs/write-a-flusher.md says, in a copy of the tree. A "sh" block is run, a "text" block has lines
// of what the block before it printed, a "yaml" block is the file that its first line names, and the lines of a "go" block are in the
// contract or in the skeleton.
func TestWriteAFlusherPage(t *testing.T) {
	tree := treecopy.New(t)
	contract := tree.Read(t, "pipeline/flusher.go")
	var code []string
	readme, output, commands := "", "", 0
	for _, b := range blocksOf(tree.Read(t, "docs/write-a-flusher.md")) {
		switch b.language {
		case "sh":
			output = tree.Run(t, b.text)
			if commands++; commands == 1 {
				code = []string{contract, tree.Read(t, "flusher/example/example.go"), tree.Read(t, "flusher/example/example_test.go")}
				readme = tree.Read(t, "flusher/example/README.md")
			}
			if strings.Contains(b.text, "make docs") {
				require.Equal(t, readme, tree.Read(t, "flusher/example/README.md"), "the skeleton's table of options")
			}
		case "text":
			for line := range strings.Lines(b.text) {
				require.Contains(t, output, strings.TrimRight(line, "\n"))
			}
		case "yaml":
			name, _, _ := strings.Cut(strings.TrimPrefix(b.text, "# "), "\n")
			tree.Write(t, name, b.text)
		case "go":
			require.True(t, quotes(code, b.text), "the page shows Go code that is not there:\n%s", b.text)
		default:
			t.Errorf("a block of %q is not checked", b.language)
		}
	}
	require.Greater(t, commands, 5)
}

// quotes tells whether the lines of text are, in this order, in one of the sources.
func quotes(sources []string, text string) bool {
	for _, source := range sources {
		rest, all := "\n"+source, true
		for line := range strings.Lines(text) {
			_, after, found := strings.Cut(rest, "\n"+line)
			all = all && found
			rest = "\n" + after
		}
		if all {
			return true
		}
	}
	return false
}
