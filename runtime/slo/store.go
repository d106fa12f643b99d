package slo

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Store keeps the state of a tracker in a directory, in files named after a script:
//
//	NAME.state          the state
//	NAME.state.1        the one before
//	NAME.state.tmp      one that is being written
//	NAME.state.*-UNIX   one that was set aside: damaged, newer, or archive (of an objective that is not kept on)
//	NAME.lock           locked while a process uses them
//
// A state is written to the temporary file, which is synchronised and renamed, and so is the directory. Whenever the
// process or the machine stops, one of the first two is whole, and no older than the last Save that returned, or the one
// before it if that one's file is damaged later. What is damaged is never used and never deleted.
type Store struct {
	files files
	path  string // of the state
	lock  *os.File
}

// ErrInUse is that another process uses the state.
var ErrInUse = errors.New("another process uses it")

// Loaded is what Load found.
type Loaded struct {
	File     string    // the state that is used; "" where there is none
	SavedAt  time.Time // when it was written
	Resumed  []string  // objectives that go on
	Fresh    []string  // that were not in the state
	Archived []string  // whose Key, or kind, is another one: their history is in Archive, and they start anew
	Dropped  []string  // that are in the state only: their history is in Archive
	Archive  string
	Problems []error // each is about a file that was set aside and wraps ErrDamaged or ErrNewer
}

// Notes say in words what a reader of Loaded should know, a line each; none where all went on.
func (l Loaded) Notes() []string {
	var notes []string
	for _, p := range l.Problems {
		notes = append(notes, p.Error())
	}
	if len(l.Problems) > 0 && l.File != "" {
		notes = append(notes, "the state of "+l.SavedAt.Format(time.RFC3339)+" is used instead")
	}
	for _, n := range l.Archived {
		notes = append(notes, fmt.Sprintf("%q counts something else than before: it starts anew; the history is in %s", n, l.Archive))
	}
	for _, n := range l.Dropped {
		notes = append(notes, fmt.Sprintf("%q is no longer an objective: the history is in %s", n, l.Archive))
	}
	return notes
}

// OpenStore locks the state of a script in a directory, which it makes where there is none. The name is part of file
// names.
func OpenStore(dir, name string) (*Store, error) {
	if name == "" || strings.ContainsAny(name, "/\x00") {
		return nil, fmt.Errorf("open state: got the name %q, want one without a slash", name)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("make state directory: %w", err)
	}
	path := filepath.Join(dir, name)
	lock, err := os.OpenFile(path+".lock", os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, fmt.Errorf("open lock: %w", err)
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		if errors.Is(err, syscall.EWOULDBLOCK) {
			err = ErrInUse
			if pid, e := io.ReadAll(io.LimitReader(lock, 20)); e == nil && len(pid) > 0 {
				err = fmt.Errorf("%w: process %s", ErrInUse, strings.TrimSpace(string(pid)))
			}
		}
		lock.Close()
		return nil, fmt.Errorf("lock state %s: %w", path, err)
	}
	// For people only: the lock is the lock. Hence no error.
	_ = lock.Truncate(0)
	_, _ = lock.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	return &Store{files: disk{}, path: path + ".state", lock: lock}, nil
}

// Close gives the lock back. It does not save.
func (s *Store) Close() error {
	if s.lock == nil {
		return nil
	}
	if err := s.lock.Close(); err != nil {
		return fmt.Errorf("close lock: %w", err)
	}
	return nil
}

// Load gives a tracker without readings the state that was saved last. The next reading ends the gap since then. A state
// that cannot be used is set aside and told of in Loaded; an error is that files could not be read, or not be set
// aside, and the tracker is as it was.
func (s *Store) Load(t *Tracker, at Instant) (Loaded, error) {
	var l Loaded
	if t.clock.started {
		return l, fmt.Errorf("load state %s: the tracker has readings", s.path)
	}
	var f *saved
	for _, path := range [...]string{s.path, s.path + ".1"} {
		data, err := s.files.read(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return l, fmt.Errorf("load state: %w", err)
		}
		f, err = decode(data)
		if err != nil {
			f = nil
			aside, e := s.setAside(path, err, at)
			if e != nil {
				return l, fmt.Errorf("set aside state %s: %w", path, e)
			}
			l.Problems = append(l.Problems, fmt.Errorf("read state %s: %w; it is set aside as %s", path, err, filepath.Base(aside)))
			continue
		}
		l.File, l.SavedAt = path, f.clock.label(f.clock.now)
		l.compare(t, f)
		if len(l.Archived)+len(l.Dropped) > 0 {
			if l.Archive, err = s.archive(data, at); err != nil {
				return l, fmt.Errorf("archive state: %w", err)
			}
		}
		break
	}
	// What was set aside has to be safe before a Save replaces it.
	if len(l.Problems) > 0 || l.Archive != "" {
		if err := s.files.sync(filepath.Dir(s.path)); err != nil {
			return l, fmt.Errorf("set aside state: %w", err)
		}
	}
	if f != nil {
		t.resume(f, at)
	}
	return l, nil
}

// setAside renames a file that cannot be used.
func (s *Store) setAside(path string, why error, at Instant) (string, error) {
	name := "damaged"
	if errors.Is(why, ErrNewer) {
		name = "newer"
	}
	aside, err := s.aside(name, at)
	if err != nil {
		return "", err
	}
	return aside, s.files.rename(path, aside)
}

// archive writes a copy of a state.
func (s *Store) archive(data []byte, at Instant) (string, error) {
	path, err := s.aside("archive", at)
	if err != nil {
		return "", err
	}
	if err := s.writeTemporary(data); err != nil {
		return "", err
	}
	return path, s.files.rename(s.path+".tmp", path)
}

// aside is a free name for a file that is set aside.
func (s *Store) aside(why string, at Instant) (string, error) {
	name := s.path + "." + why + "-" + strconv.FormatInt(at.Wall.Unix(), 10)
	for n := 1; ; n++ {
		path := name
		if n > 1 {
			path += "-" + strconv.Itoa(n)
		}
		switch exists, err := s.files.exists(path); {
		case err != nil:
			return "", err
		case !exists:
			return path, nil
		}
	}
}

// Save writes the state of a tracker. When it fails, the states before are as they were or, one of them, under the
// other's name. Before the first reading, and the first one after Load, there is nothing to save.
func (s *Store) Save(t *Tracker) error {
	if !t.clock.started || t.resumed {
		return nil
	}
	if err := s.save(t.encode()); err != nil {
		return fmt.Errorf("save state: %w", err)
	}
	return nil
}

func (s *Store) save(data []byte) error {
	if err := s.writeTemporary(data); err != nil {
		return err
	}
	if err := s.files.rename(s.path, s.path+".1"); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := s.files.rename(s.path+".tmp", s.path); err != nil {
		return err
	}
	return s.files.sync(filepath.Dir(s.path))
}

func (s *Store) writeTemporary(data []byte) error {
	f, err := s.files.create(s.path + ".tmp")
	if err != nil {
		return err
	}
	if _, err = f.Write(data); err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// files is the file system, as far as a test has to break it.
type files interface {
	read(path string) ([]byte, error)
	exists(path string) (bool, error)
	create(path string) (file, error) // or truncate
	rename(from, to string) error
	sync(dir string) error
}

type file interface {
	io.WriteCloser
	Sync() error
}

// disk is the real one.
type disk struct{}

func (disk) read(path string) ([]byte, error) { return os.ReadFile(path) }

func (disk) exists(path string) (bool, error) {
	_, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

func (disk) create(path string) (file, error) { return os.Create(path) }

func (disk) rename(from, to string) error { return os.Rename(from, to) }

func (disk) sync(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
