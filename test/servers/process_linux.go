package servers

import "syscall"

// childAttributes also ends the child when its parent is killed and cannot clean up.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
