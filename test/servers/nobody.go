package servers

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

// nobody is who a server is that refuses to be root.
const nobody = 65534

// asNobody makes a command that root runs another user's.
func asNobody(cmd *exec.Cmd) {
	cmd.SysProcAttr = childAttributes()
	if os.Getuid() == 0 {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: nobody, Gid: nobody}
	}
}

// openToNobody lets everybody enter a folder of root's, and its parents as far as they are temporary.
func openToNobody(dir string) error {
	if os.Getuid() != 0 {
		return nil
	}
	temp := filepath.Clean(os.TempDir())
	for ; dir != temp; dir = filepath.Dir(dir) {
		if !strings.HasPrefix(dir, temp) {
			return fmt.Errorf("%s: choose a folder below %s, which a user that is not root can enter", dir, temp)
		}
		if err := os.Chmod(dir, 0o755); err != nil {
			return err
		}
	}
	return nil
}

// giveToNobody makes the files of root's folders another user's.
func giveToNobody(dirs ...string) error {
	if os.Getuid() != 0 {
		return nil
	}
	for _, dir := range dirs {
		err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			return os.Chown(path, nobody, nobody)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// linkTree makes to a copy of from, by links where both are on one file system.
func linkTree(from, to string) error {
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		target := filepath.Join(to, name)
		if d.IsDir() {
			return os.MkdirAll(target, 0o755)
		}
		if err := os.Link(path, target); !errors.Is(err, syscall.EXDEV) {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(target, text, info.Mode())
	})
}
