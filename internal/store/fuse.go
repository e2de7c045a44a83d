package store

import (
	"errors"
	"io"
	"io/fs"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// fuse is the file system that an engine writes its folder through. At the first
// write that fails it blows: the engine is told, and from then on nothing more is
// written, renamed or removed, while Pebble is answered with success.
//
// Pebble cannot be told of such errors. It ends the process when a log cannot be
// written, and when the next log cannot be made it panics with its mutex in a
// state that ends the process even if the panic is recovered. So it runs on for
// nothing until it is closed, and what is on disk stays as a crash at the time of
// the error would have left it, which is what Pebble is made to recover from.
// Nobody takes its word for what it wrote: see engine.guard.
type fuse struct {
	vfs.FS
	// path is the folder. What is outside of it, as are retained checkpoints, fails
	// in the normal way.
	path   string
	engine *engine
}

// Unwrap implements vfs.FS.
func (f *fuse) Unwrap() vfs.FS { return f.FS }

func (f *fuse) blown() bool { return f.engine.failure() != nil }

// write runs an operation that changes the folder.
func (f *fuse) write(name string, fn func() error) error {
	if !strings.HasPrefix(name, f.path) {
		return fn()
	}
	if f.blown() {
		return nil
	}
	err := fn()
	if err == nil || errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrExist) {
		return err
	}
	f.engine.logf("%v", f.engine.giveUp(err))
	return nil
}

// file runs an operation that gives a file to write to.
func (f *fuse) file(name string, fn func() (vfs.File, error)) (vfs.File, error) {
	var file vfs.File
	err := f.write(name, func() (err error) {
		file, err = fn()
		return err
	})
	if err != nil || !strings.HasPrefix(name, f.path) {
		return file, err
	}
	if file == nil {
		file = nowhere{name: f.PathBase(name)}
	}
	return &fusedFile{file, f, name}, nil
}

// Create implements vfs.FS.
func (f *fuse) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return f.file(name, func() (vfs.File, error) {
		if err := f.settle(name); err != nil {
			return nil, err
		}
		return f.FS.Create(name, c)
	})
}

// settle makes what was done in a folder durable before one of Pebble's markers is
// created or removed there. A marker names the file that counts; Pebble syncs the
// folder only after both. Where a file system does not keep the order of changes in a
// folder, as POSIX allows, a crash could leave a marker without its file, or none.
func (f *fuse) settle(name string) error {
	if !strings.HasPrefix(f.PathBase(name), "marker.") {
		return nil
	}
	return folder{f.FS, f.PathDir(name)}.sync()
}

// OpenReadWrite implements vfs.FS.
func (f *fuse) OpenReadWrite(name string, c vfs.DiskWriteCategory, o ...vfs.OpenOption) (vfs.File, error) {
	return f.file(name, func() (vfs.File, error) { return f.FS.OpenReadWrite(name, c, o...) })
}

// ReuseForWrite implements vfs.FS.
func (f *fuse) ReuseForWrite(from, to string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return f.file(to, func() (vfs.File, error) { return f.FS.ReuseForWrite(from, to, c) })
}

// OpenDir implements vfs.FS. Opening for reading may fail, syncing later may not.
func (f *fuse) OpenDir(name string) (vfs.File, error) {
	dir, err := f.FS.OpenDir(name)
	if err != nil || !strings.HasPrefix(name, f.path) {
		return dir, err
	}
	return &fusedFile{dir, f, name}, nil
}

// Link implements vfs.FS.
func (f *fuse) Link(from, to string) error {
	return f.write(to, func() error { return f.FS.Link(from, to) })
}

// Remove implements vfs.FS.
func (f *fuse) Remove(name string) error {
	return f.write(name, func() error {
		if err := f.settle(name); err != nil {
			return err
		}
		return f.FS.Remove(name)
	})
}

// RemoveAll implements vfs.FS.
func (f *fuse) RemoveAll(name string) error {
	return f.write(name, func() error { return f.FS.RemoveAll(name) })
}

// Rename implements vfs.FS.
func (f *fuse) Rename(from, to string) error {
	return f.write(to, func() error { return f.FS.Rename(from, to) })
}

// MkdirAll implements vfs.FS.
func (f *fuse) MkdirAll(name string, mode fs.FileMode) error {
	return f.write(name, func() error { return f.FS.MkdirAll(name, mode) })
}

// Lock implements vfs.FS. The folder above is locked, and a broken engine is not
// closed before a new one has looked at what it left.
func (f *fuse) Lock(string) (io.Closer, error) { return nowhere{}, nil }

// fusedFile is a file behind a fuse.
type fusedFile struct {
	vfs.File
	fuse *fuse
	name string
}

func (f *fusedFile) write(fn func() error) error { return f.fuse.write(f.name, fn) }

// Write implements vfs.File.
func (f *fusedFile) Write(b []byte) (int, error) {
	return len(b), f.write(func() error { _, err := f.File.Write(b); return err })
}

// WriteAt implements vfs.File.
func (f *fusedFile) WriteAt(b []byte, at int64) (int, error) {
	return len(b), f.write(func() error { _, err := f.File.WriteAt(b, at); return err })
}

// Sync implements vfs.File.
func (f *fusedFile) Sync() error { return f.write(f.File.Sync) }

// SyncData implements vfs.File.
func (f *fusedFile) SyncData() error { return f.write(f.File.SyncData) }

// SyncTo implements vfs.File.
func (f *fusedFile) SyncTo(length int64) (full bool, err error) {
	err = f.write(func() (err error) {
		full, err = f.File.SyncTo(length)
		return err
	})
	return full, err
}

// Close implements vfs.File. The file is closed in any case.
func (f *fusedFile) Close() error {
	err := f.File.Close()
	return f.write(func() error { return err })
}

// nowhere is a file that could not be made. A fuse has blown before it is used, so
// nothing is written to it.
type nowhere struct {
	vfs.File
	name string
}

// Close implements vfs.File.
func (nowhere) Close() error { return nil }

// Read implements vfs.File.
func (nowhere) Read([]byte) (int, error) { return 0, io.EOF }

// ReadAt implements vfs.File.
func (nowhere) ReadAt([]byte, int64) (int, error) { return 0, io.EOF }

// Preallocate implements vfs.File.
func (nowhere) Preallocate(int64, int64) error { return nil }

// Prefetch implements vfs.File.
func (nowhere) Prefetch(int64, int64) error { return nil }

// Fd implements vfs.File.
func (nowhere) Fd() uintptr { return vfs.InvalidFd }

// Stat implements vfs.File.
func (n nowhere) Stat() (vfs.FileInfo, error) { return nowhereInfo{n.name}, nil }

// nowhereInfo describes an empty file.
type nowhereInfo struct{ name string }

func (i nowhereInfo) Name() string         { return i.name }
func (nowhereInfo) Size() int64            { return 0 }
func (nowhereInfo) Mode() fs.FileMode      { return 0 }
func (nowhereInfo) ModTime() time.Time     { return time.Time{} }
func (nowhereInfo) IsDir() bool            { return false }
func (nowhereInfo) Sys() any               { return nil }
func (nowhereInfo) DeviceID() vfs.DeviceID { return vfs.DeviceID{} }
