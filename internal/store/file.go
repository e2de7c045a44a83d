package store

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"syscall"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/tidemarkhq/tidemark/checkpoint"
)

// The names in the folder of a store.
const (
	identityFile     = "STORE"
	acknowledgedFile = "ACKNOWLEDGED"
	lockFile         = "LOCK"
	holderFile       = "HOLDER"
	retainedFolder   = "retained"
	stateFolder      = "state"
	checkpointFile   = "CHECKPOINT"
	livePrefix       = "live-"
	// temporarySuffix marks what is not complete yet, or not any more. Open
	// removes it.
	temporarySuffix = ".tmp"
)

func liveFolder(generation int) string { return fmt.Sprintf("%s%06d", livePrefix, generation) }

// folder is a place in a file system.
type folder struct {
	fs   vfs.FS
	path string
}

func (f folder) join(names ...string) string {
	return f.fs.PathJoin(append([]string{f.path}, names...)...)
}

func (f folder) sub(names ...string) folder { return folder{f.fs, f.join(names...)} }

func (f folder) exists(name string) (bool, error) {
	_, err := f.fs.Stat(f.join(name))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// list returns what is in the folder; nothing if there is no such folder.
func (f folder) list() ([]string, error) {
	names, err := f.fs.List(f.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return names, err
}

func (f folder) read(name string) ([]byte, error) {
	file, err := f.fs.Open(f.join(name))
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(file)
	return b, errors.Join(err, file.Close())
}

// create writes a new file and syncs it, but not the folder.
func (f folder) create(name string, content []byte) error {
	file, err := f.fs.Create(f.join(name), vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	_, err = file.Write(content)
	if err == nil {
		err = file.Sync()
	}
	return errors.Join(err, file.Close())
}

// replace makes content the file's, now and after a crash: old or new, whole.
func (f folder) replace(name string, content []byte) error {
	temporary := name + temporarySuffix
	if err := f.create(temporary, content); err != nil {
		return err
	}
	if err := f.fs.Rename(f.join(temporary), f.join(name)); err != nil {
		return err
	}
	return f.sync()
}

func (f folder) sync() error {
	dir, err := f.fs.OpenDir(f.path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// remove takes a sub folder away. It is renamed first, so that half of it is
// never taken for the whole.
func (f folder) remove(name string) error {
	gone := name + temporarySuffix
	if err := f.fs.RemoveAll(f.join(gone)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := f.fs.Rename(f.join(name), f.join(gone)); err != nil {
		return err
	}
	return f.fs.RemoveAll(f.join(gone))
}

// linkAll makes a copy of the folder in to, which must not exist: table files,
// which are never written again, as hard links where the file system has them,
// all else as bytes.
func (f folder) linkAll(to folder) error {
	if err := f.fs.MkdirAll(to.path, 0o755); err != nil {
		return err
	}
	names, err := f.list()
	if err != nil {
		return err
	}
	for _, name := range names {
		ext := name[len(name)-min(len(name), len(".sst")):]
		if name == "LOCK" {
			continue
		}
		if ext == ".sst" {
			err = vfs.LinkOrCopy(f.fs, f.join(name), to.join(name))
		} else {
			err = f.copyFile(name, to)
		}
		if err != nil {
			return fmt.Errorf("copying %s: %w", f.join(name), err)
		}
	}
	return to.sync()
}

func (f folder) copyFile(name string, to folder) error {
	content, err := f.read(name)
	if err != nil {
		return err
	}
	return to.create(name, content)
}

// damage decides what an error of reading a store means. An error of the system
// (permissions, input/output, disk full) says nothing about the bytes and may
// pass; a file that is missing, and all else that Pebble complains about, is
// damage.
func damage(what string, err error) error {
	var errno syscall.Errno
	switch {
	case err == nil:
		return nil
	case damaged(err):
		return fmt.Errorf("%s: %w", what, err)
	case errors.As(err, &errno) && !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%s: %w", what, err)
	}
	return fmt.Errorf("%s: %w: %w", what, checkpoint.ErrCorrupt, err)
}

// damaged tells whether err says that stored bytes are not what was written.
func damaged(err error) bool {
	return errors.Is(err, checkpoint.ErrCorrupt) || errors.Is(err, checkpoint.ErrVersion)
}
