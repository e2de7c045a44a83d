package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/tidemarkhq/tidemark/checkpoint"
)

// holder says who works with a store. It is for people: what counts is the lock,
// which the system frees when its process ends in whatever way.
type holder struct {
	PID   int       `json:"pid"`
	Host  string    `json:"host"`
	Since time.Time `json:"since"`
}

// acquire locks the folder, which must exist, and writes down who has it.
func (f folder) acquire(now time.Time) (io.Closer, error) {
	lock, err := f.fs.Lock(f.join(lockFile))
	if err != nil {
		if !held(err) {
			return nil, fmt.Errorf("locking %s: %w", f.join(lockFile), err)
		}
		return nil, fmt.Errorf("%w: %s is in use%s", checkpoint.ErrLocked, f.path, f.readHolder())
	}
	host, _ := os.Hostname()
	b, err := json.Marshal(holder{PID: os.Getpid(), Host: host, Since: now})
	if err == nil {
		err = f.create(holderFile, b)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("writing %s: %w", f.join(holderFile), err), lock.Close())
	}
	return lock, nil
}

// held tells a lock that somebody has from one that cannot be taken. A denied
// open of the lock file is EACCES too, but carries its path.
func held(err error) bool {
	var path *os.PathError
	if errors.As(err, &path) {
		return false
	}
	return errors.Is(err, syscall.EAGAIN) || errors.Is(err, syscall.EACCES) ||
		strings.Contains(err.Error(), "lock held by current process")
}

func (f folder) readHolder() string {
	var h holder
	b, err := f.read(holderFile)
	if err != nil || json.Unmarshal(b, &h) != nil {
		return ""
	}
	return fmt.Sprintf(" by process %d on %s since %s", h.PID, h.Host, h.Since.Format(time.RFC3339))
}

// resolve makes the folder and gives it one name. The system's lock excludes
// other processes only; within a process it is the name of the lock file that is
// compared.
func resolve(fs vfs.FS, path string) (string, error) {
	if err := makeFolder(fs, path); err != nil {
		return "", fmt.Errorf("making directory %q: %w", path, err)
	}
	if fs != vfs.Default {
		return path, nil
	}
	absolute, err := filepath.Abs(path)
	if err == nil {
		absolute, err = filepath.EvalSymlinks(absolute)
	}
	if err != nil {
		return "", fmt.Errorf("resolving directory %q: %w", path, err)
	}
	return absolute, nil
}

// makeFolder makes a folder and what is missing above it, durably: after a crash
// of the machine the store must not be gone with its name.
func makeFolder(fs vfs.FS, path string) error {
	var parents []folder
	for at := path; ; at = fs.PathDir(at) {
		if _, err := fs.Stat(at); err == nil || fs.PathDir(at) == at {
			break
		}
		parents = append(parents, folder{fs, fs.PathDir(at)})
	}
	if err := fs.MkdirAll(path, 0o755); err != nil {
		return err
	}
	for _, parent := range parents {
		if err := parent.sync(); err != nil {
			return err
		}
	}
	return nil
}
