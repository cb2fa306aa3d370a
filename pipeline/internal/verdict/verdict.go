// Package verdict runs a contract check the way a test would, to see whether it fails: the suites prove with it that
// each of their checks finds what it is for.
package verdict

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
)

// Of runs check and returns what it reported, nil when it passed. A panic counts as a report.
func Of(t *testing.T, check func(testing.TB)) []string {
	r := &recorder{TB: t}
	r.run(func() { check(r) })
	// As in a test: the last registered first, and all of them.
	for len(r.cleanups) > 0 {
		last := len(r.cleanups) - 1
		cleanup := r.cleanups[last]
		r.cleanups = r.cleanups[:last]
		r.run(cleanup)
	}
	return r.reports
}

// recorder keeps failures to itself. What it does not override goes to the real test.
type recorder struct {
	testing.TB

	mu       sync.Mutex
	reports  []string
	cleanups []func()
}

// run calls f on a goroutine of its own, which FailNow ends.
func (r *recorder) run(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() {
			if p := recover(); p != nil {
				r.report(fmt.Sprint("panic: ", p))
			}
		}()
		f()
	}()
	<-done
}

func (r *recorder) report(text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.reports = append(r.reports, strings.TrimSpace(text))
}

func (r *recorder) Helper()                           {}
func (r *recorder) Log(...any)                        {}
func (r *recorder) Logf(string, ...any)               {}
func (r *recorder) Error(args ...any)                 { r.report(fmt.Sprintln(args...)) }
func (r *recorder) Errorf(format string, args ...any) { r.report(fmt.Sprintf(format, args...)) }
func (r *recorder) Fail()                             { r.report("failed") }
func (r *recorder) FailNow()                          { r.report("failed"); runtime.Goexit() }
func (r *recorder) Fatal(args ...any)                 { r.Error(args...); runtime.Goexit() }
func (r *recorder) Fatalf(f string, args ...any)      { r.Errorf(f, args...); runtime.Goexit() }
func (r *recorder) Skip(args ...any)                  { r.Fatal(args...) }
func (r *recorder) Skipf(format string, args ...any)  { r.Fatalf(format, args...) }
func (r *recorder) SkipNow()                          { r.FailNow() }

func (r *recorder) Failed() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.reports) > 0
}

func (r *recorder) Cleanup(f func()) { r.cleanups = append(r.cleanups, f) }

// Contains reports whether one of the reports contains text.
func Contains(reports []string, text string) bool {
	return slices.ContainsFunc(reports, func(r string) bool { return strings.Contains(r, text) })
}
