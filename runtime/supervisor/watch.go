// Package supervisor runs many scripts in one process, each by itself: it finds them in files and directories, starts them,
// replaces them when their text changes, and tries again what failed.
//
// Start at Watcher and File.
package supervisor

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/fsnotify/fsnotify"
)

// settle is how long it has to be quiet after an event before the files are looked at, since an editor writes in several
// steps; settleAtMost bounds the wait where it is never quiet.
const (
	settle       = 30 * time.Millisecond
	settleAtMost = 500 * time.Millisecond
)

// lookEvery is how often files are looked at without an event: on file systems that tell of none, and where the user's
// watches are used up.
const lookEvery = 2 * time.Second

// Watcher says when files and directories may have changed. It only ever says "look": what has changed is decided by
// looking (File), so that an event too many does nothing and a lost one costs time only.
//
// It watches the directories of the files, since a file that is renamed over is another one, and those of what symbolic
// links on the way point to: in a ConfigMap the link ..data, which is beside the files, is swapped.
type Watcher struct {
	paths func() []string
	looks chan struct{}
	stop  chan struct{}
	done  sync.WaitGroup
	fs    *fsnotify.Watcher // nil: look by the clock only
}

// NewWatcher watches what paths returns, which is asked anew after each look. It may be called from another goroutine.
func NewWatcher(paths func() []string) *Watcher {
	w := &Watcher{paths: paths, looks: make(chan struct{}, 1), stop: make(chan struct{})}
	w.fs, _ = fsnotify.NewWatcher()
	w.watch()
	w.done.Go(w.run)
	return w
}

// Looks has a value when it is time to look.
func (w *Watcher) Looks() <-chan struct{} { return w.looks }

// Close ends the watching.
func (w *Watcher) Close() error {
	close(w.stop)
	w.done.Wait()
	if w.fs == nil {
		return nil
	}
	return w.fs.Close()
}

func (w *Watcher) run() {
	var events <-chan fsnotify.Event
	var failures <-chan error
	if w.fs != nil {
		events, failures = w.fs.Events, w.fs.Errors
	}
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case <-w.stop:
			return
		case <-events:
			w.calm(events)
		case <-failures: // an overflow: events were lost
		case <-tick.C:
		}
		w.watch()
		select {
		case w.looks <- struct{}{}:
		default: // one look is due already
		}
	}
}

// calm waits until no more events come.
func (w *Watcher) calm(events <-chan fsnotify.Event) {
	limit := time.NewTimer(settleAtMost)
	defer limit.Stop()
	quiet := time.NewTimer(settle)
	defer quiet.Stop()
	for {
		select {
		case <-events:
			quiet.Reset(settle)
		case <-quiet.C:
			return
		case <-limit.C:
			return
		case <-w.stop:
			return
		}
	}
}

// watch brings what is watched in line with the paths.
func (w *Watcher) watch() {
	if w.fs == nil {
		return
	}
	var dirs []string
	for _, p := range w.paths() {
		dirs = append(dirs, directories(p)...)
	}
	have := w.fs.WatchList()
	for _, d := range dirs {
		if !slices.Contains(have, d) {
			w.fs.Add(d) // where it fails the clock has to do
		}
	}
	for _, d := range have {
		if !slices.Contains(dirs, d) {
			w.fs.Remove(d)
		}
	}
}

// directories are those in which a change may change what is at a path: the path itself where it is a directory, that
// of the file, and those of each link on the way.
func directories(path string) []string {
	var out []string
	if st, err := os.Stat(path); err == nil && st.IsDir() {
		out = append(out, path)
	}
	const links = 40 // as the kernel
	for range links {
		out = append(out, filepath.Dir(path))
		dir, err := filepath.EvalSymlinks(filepath.Dir(path))
		if err == nil && dir != filepath.Dir(path) {
			out = append(out, dir)
		}
		target, err := os.Readlink(path)
		if err != nil {
			break
		}
		if !filepath.IsAbs(target) {
			target = filepath.Join(filepath.Dir(path), target)
		}
		path = target
	}
	if dir, err := filepath.EvalSymlinks(filepath.Dir(out[len(out)-1])); err == nil {
		out = append(out, dir)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// File looks at one file again and again.
type File struct {
	Path string

	text  string
	seen  bool
	about stamp
}

// stamp is what tells versions of a file apart without reading it.
type stamp struct {
	dev, ino uint64
	size     int64
	mtime    time.Time
	ctime    syscall.Timespec
}

// Look reads the file where it may have changed since the last look. changed tells whether its text is another one than
// that of the last look that found one, as the first is.
func (f *File) Look() (text string, changed bool, err error) {
	file, err := os.Open(f.Path)
	if err != nil {
		f.about = stamp{}
		return f.text, false, plainError(err)
	}
	defer file.Close()
	st, err := file.Stat()
	if err != nil {
		return f.text, false, plainError(err)
	}
	now := stamp{size: st.Size(), mtime: st.ModTime()}
	if sys, ok := st.Sys().(*syscall.Stat_t); ok {
		now.dev, now.ino, now.ctime = uint64(sys.Dev), sys.Ino, sys.Ctim
	}
	// A clock tick of the file system may be so coarse that two writes have one time.
	const coarse = 2 * time.Second
	if now == f.about && time.Since(now.mtime) > coarse {
		return f.text, false, nil
	}
	b, err := io.ReadAll(file)
	if err != nil {
		return f.text, false, plainError(err)
	}
	f.about = now
	if f.seen && f.text == string(b) {
		return f.text, false, nil
	}
	f.text, f.seen = string(b), true
	return f.text, true, nil
}

// plainError is an error without the path, which whoever tells it says in other words.
func plainError(err error) error {
	var p *os.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}
