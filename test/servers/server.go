package servers

// server is what the servers of a single process share. Its process is nil until the first Start.
type server struct {
	dir     string
	process *Process
}

// Stop ends the server in order. It may be called more than once.
func (s *server) Stop() {
	if s.process != nil {
		s.process.Stop(stopTimeout)
	}
}

// Kill ends the server at once.
func (s *server) Kill() {
	if s.process != nil {
		s.process.Kill()
	}
}

// Pause stops the server from running, with all connections open, until Resume.
func (s *server) Pause() error { return s.process.Pause() }

// Resume ends Pause.
func (s *server) Resume() error { return s.process.Resume() }

// Tail returns the last lines that the server has logged.
func (s *server) Tail(lines int) string { return s.process.Tail(lines) }
