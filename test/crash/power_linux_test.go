//go:build e2e && power

package crash

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// The power fails at random points under load: nothing is left but what the file system had written to its disk by then. A process that is
// killed leaves what it wrote in the memory of the system, so that only this test sees a sync that is missing.
func TestPowerCut(t *testing.T) {
	rnd := choices(t)
	sinks := []*sink{newSink(t, rnd), newSink(t, rnd)}
	d := newDrive(t)
	f := newTail(t, filepath.Join(d.dir, "data"), object{"MaxBytes": "4MiB", "MinFreeBytes": "0B"}, sinks...)
	c := newClient(f.url)
	stop := c.load(t, rnd)
	recovered := 0
	for round := range max(*rounds/10, 2) {
		for _, s := range sinks {
			s.setMood([]mood{quick, slow, slow, silent}[rnd.IntN(4)])
		}
		if round == 0 {
			sinks[0].setMood(silent) // so that something is left to be recovered
		}
		f.start(t)
		if round == 0 {
			await(t, "events are acknowledged", func() bool { return c.acknowledged() > 0 })
		}
		time.Sleep(time.Duration(rnd.IntN(1000)) * time.Millisecond)
		for _, a := range f.requireLedger(t).Flushers {
			require.Zero(t, a.Corrupt)
			recovered += a.Recovered
		}
		f.kill(t)
		d.cutPower(t)
	}
	stop()
	for _, s := range sinks {
		s.setMood(quick)
	}
	f.start(t)
	f.requireDrained(t)
	for _, s := range sinks {
		s.requireAll(t, c, nil)
	}
	require.Positive(t, recovered)
	t.Logf("%d posts acknowledged with %d events; %d events recovered from what was on the disk", c.answers(http.StatusOK), c.acknowledged(), recovered)
}

// drive is a file system in a file.
type drive struct {
	dir    string // where it is mounted
	images string // folder of the files
	cuts   int
}

func newDrive(t testing.TB) *drive {
	t.Helper()
	d := &drive{dir: t.TempDir(), images: t.TempDir()}
	require.NoError(t, os.WriteFile(d.image(), nil, 0o600))
	require.NoError(t, os.Truncate(d.image(), 64<<20))
	d.run(t, "mkfs.ext4", "-q", "-F", d.image())
	d.mount(t)
	t.Cleanup(func() { d.run(t, "umount", d.dir) })
	return d
}

func (d *drive) image() string { return filepath.Join(d.images, fmt.Sprintf("%d.ext4", d.cuts)) }

// mount mounts the image. What nobody syncs stays in memory for longer than a round lasts.
func (d *drive) mount(t testing.TB) { d.run(t, "mount", "-o", "loop,commit=300", d.image(), d.dir) }

func (d *drive) run(t testing.TB, name string, args ...string) {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	require.NoError(t, err, "%s: %s\nthis test needs mkfs.ext4 and a loop device, and has to run as root", name, out)
}

// cutPower replaces what is mounted by what is on the disk now. Nobody may use it.
func (d *drive) cutPower(t testing.TB) {
	t.Helper()
	before := d.image()
	d.cuts++
	d.run(t, "cp", "--sparse=always", before, d.image())
	d.run(t, "umount", d.dir) // writes the rest to the old image
	require.NoError(t, os.Remove(before))
	d.mount(t)
}
