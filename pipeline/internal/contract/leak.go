// Package contract has what the contract suites share.
package contract

import (
	"fmt"
	"os"
	"runtime/debug"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// NoLeaks checks, when the test is over and everything registered later is cleaned up, that no goroutine was left.
func NoLeaks(t testing.TB) {
	known := goleak.IgnoreCurrent()
	t.Cleanup(func() {
		t.Helper()
		if err := goleak.Find(known); err != nil {
			t.Errorf("goroutines are left: %v", err)
		}
	})
}

// NoOpenFiles returns a function that checks that no more files are open than now. It checks nothing where the
// system does not tell.
func NoOpenFiles(t testing.TB) func() {
	before := openFiles()
	return func() {
		t.Helper()
		deadline := time.Now().Add(2 * time.Second)
		for openFiles() > before {
			if time.Now().After(deadline) {
				t.Errorf("%d files or sockets are left open", openFiles()-before)
				return
			}
			time.Sleep(time.Millisecond)
		}
	}
}

func openFiles() int {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return 0
	}
	return len(entries)
}

// Within calls f and fails the test when it panics or takes longer than limit. A FailNow in f ends the test, as it
// would without Within.
func Within(t testing.TB, limit time.Duration, what string, f func()) {
	t.Helper()
	done := make(chan string, 1)
	returned := false
	go func() {
		defer func() {
			problem := ""
			if p := recover(); p != nil {
				problem = fmt.Sprintf("%s panicked: %v\n%s", what, p, debug.Stack())
			}
			done <- problem
		}()
		f()
		returned = true
	}()
	select {
	case problem := <-done:
		if problem != "" {
			t.Fatal(problem)
		}
		if !returned {
			t.FailNow()
		}
	case <-time.After(limit):
		t.Fatalf("%s did not return within %s", what, limit)
	}
}
