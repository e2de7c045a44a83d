package kafkatest

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestChildrenDieWithTheirParent kills, with -9, a copy of this test binary that
// has launched a child.
func TestChildrenDieWithTheirParent(t *testing.T) {
	const parent = "TIDEMARK_TEST_PARENT"
	if os.Getenv(parent) != "" {
		p, err := launch(exec.Command("sleep", "600"))
		require.NoError(t, err)
		fmt.Println("child", p.cmd.Process.Pid)
		<-p.done
		return
	}
	cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), parent+"=1")
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	var child int
	for lines := bufio.NewScanner(out); child == 0 && lines.Scan(); {
		if pid, ok := strings.CutPrefix(lines.Text(), "child "); ok {
			child, err = strconv.Atoi(pid)
			require.NoError(t, err)
		}
	}
	require.NotZero(t, child)
	require.NoError(t, syscall.Kill(child, 0), "the child runs")
	require.NoError(t, cmd.Process.Kill())
	require.Error(t, cmd.Wait())
	Eventually(t, time.Minute, "the child is gone", func() bool {
		if errors.Is(syscall.Kill(child, 0), syscall.ESRCH) {
			return true
		}
		// Dead, and whoever inherited it has not looked yet; in some containers nobody
		// ever does.
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", child))
		return err == nil && strings.Contains(string(stat), ") Z ")
	})
}

// verdict stands in for a test that its broker gives up on.
type verdict struct {
	testing.TB
	failed, skipped string
}

func (v *verdict) Fatalf(format string, args ...any) { v.failed = fmt.Sprintf(format, args...) }
func (v *verdict) Skipf(format string, args ...any)  { v.skipped = fmt.Sprintf(format, args...) }

func TestAMissingKafkaSkipsAloudAndFailsInCI(t *testing.T) {
	t.Setenv("PATH", "")
	_, missing := install(Newest)
	require.ErrorIs(t, missing, errMissing)

	t.Setenv("CI", "")
	v := &verdict{TB: t}
	giveUp(v, missing)
	require.Empty(t, v.failed)
	require.Contains(t, v.skipped, "no java on the PATH")

	t.Setenv("CI", "true")
	v = &verdict{TB: t}
	giveUp(v, missing)
	require.Contains(t, v.failed, "no java on the PATH")

	t.Setenv("CI", "")
	v = &verdict{TB: t}
	giveUp(v, errors.New("it ended"))
	require.Contains(t, v.failed, "it ended", "a broker that does not start is never a reason to skip")
}

func TestLocksExcludeAndEnd(t *testing.T) {
	path := t.TempDir() + "/lock"
	unlock, err := lockFile(path, true)
	require.NoError(t, err)
	_, err = lockFile(path, false)
	require.ErrorIs(t, err, syscall.EWOULDBLOCK)
	unlock()
	unlock, err = lockFile(path, false)
	require.NoError(t, err)
	unlock()
}

func TestAbandonedHomesAreRemoved(t *testing.T) {
	t.Setenv("TIDEMARK_KAFKA_CACHE", t.TempDir())
	mine, err := claimHome()
	require.NoError(t, err)
	abandoned := mine + "-abandoned"
	require.NoError(t, os.Mkdir(abandoned, 0o755))
	next, err := claimHome()
	require.NoError(t, err)
	require.NoDirExists(t, abandoned)
	require.DirExists(t, mine, "it is locked")
	require.DirExists(t, next)
}
