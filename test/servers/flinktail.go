package servers

import (
	"fmt"
	"os/exec"
	"path/filepath"
)

// BuildFlinktail compiles the flinktail of this tree into dir and returns its path.
func BuildFlinktail(dir string) (string, error) {
	path := filepath.Join(dir, "flinktail")
	cmd := exec.Command("go", "build", "-o", path, ".")
	cmd.Dir = Tree()
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build flinktail: %w: %s", err, out)
	}
	return path, nil
}
