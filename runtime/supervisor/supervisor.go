// Package supervisor runs many scripts in one process, each by itself: it finds them in files and directories, starts them,
// replaces them when their text changes, and tries again what failed.
//
// Algorithm: one goroutine looks (watch.go) at all files when something says that it is time, and puts what has changed into
// the mailbox of the script concerned; a new file in a directory is a new script, one that is gone for a while is stopped.
// Each script has a goroutine (script.go) that runs it, and where it has failed waits for mail or for a time that doubles.
//
// Invariants: what one script does, be it a panic, neither stops nor delays another. A text that cannot run takes the place
// of none that does. The state of every script, with its last error, can be read at any time.
//
// The package knows no compiler and no kernel: what it is to run a script it is told (Options.Run). Start at New and Run.
package supervisor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// Options is what a Supervisor needs.
type Options struct {
	Paths  []string // of scripts, and of directories with scripts
	Suffix string   // of the scripts in directories: ".slo"

	// Run runs a script from its text until it ends, which is no error, or ctx does. It tells Attached when it runs, and
	// then takes texts from Changes.
	Run func(ctx context.Context, s *Script, text string) error

	Log   *slog.Logger
	Retry time.Duration // before a script that failed is tried again, the first time; 0 is 1 s
}

// retryAtMost is the longest time before a script that failed is tried again.
const retryAtMost = time.Minute

// goneAfter is how long a file of a directory must be gone before its script is stopped: an editor may take it away for
// a moment.
const goneAfter = time.Second

// Supervisor runs scripts.
type Supervisor struct {
	opt     Options
	forced  chan chan error // reload requests
	running sync.WaitGroup

	mu      sync.Mutex
	scripts []*Script // by name
	looked  bool      // all paths were looked at once
	trouble map[string]string
}

// New makes a supervisor that runs nothing yet.
func New(opt Options) *Supervisor {
	if opt.Retry <= 0 {
		opt.Retry = time.Second
	}
	return &Supervisor{opt: opt, forced: make(chan chan error), trouble: map[string]string{}}
}

// Name is what a script at a path is called: its file's name without the ending.
func Name(path string) string {
	return strings.TrimSuffix(filepath.Base(path), filepath.Ext(path))
}

// Run finds the scripts and runs them until ctx ends. All have ended when it returns.
func (v *Supervisor) Run(ctx context.Context) {
	w := NewWatcher(v.watched)
	defer w.Close()
	defer v.running.Wait()
	v.look(ctx, nil)
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.Looks():
			v.look(ctx, nil)
		case told := <-v.forced:
			v.look(ctx, told)
		}
	}
}

// Reload makes every script take its present text, changed or not, and waits for what becomes of it.
func (v *Supervisor) Reload(ctx context.Context) error {
	told := make(chan error, 1)
	select {
	case v.forced <- told:
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-told:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// watched is what the watcher watches.
func (v *Supervisor) watched() []string {
	v.mu.Lock()
	defer v.mu.Unlock()
	out := slices.Clone(v.opt.Paths)
	for _, s := range v.scripts {
		out = append(out, s.Path)
	}
	return out
}

// look finds the scripts that are there and gives each what has changed. told, if any, gets the errors of all.
func (v *Supervisor) look(ctx context.Context, told chan error) {
	for _, path := range v.opt.Paths {
		st, err := os.Stat(path)
		if err != nil || !st.IsDir() {
			if !v.hasBelow(path) { // or a directory that is gone for the moment
				v.find(ctx, path, false)
			}
			continue
		}
		entries, err := os.ReadDir(path)
		v.once(path, err)
		for _, e := range entries {
			if name := e.Name(); filepath.Ext(name) == v.opt.Suffix && name[0] != '.' && !e.IsDir() {
				v.find(ctx, filepath.Join(path, name), true)
			}
		}
	}
	v.mu.Lock()
	all := slices.Clone(v.scripts)
	v.looked = true
	v.mu.Unlock()
	var wanted []chan error
	var names []string
	for _, s := range all {
		s.look()
		if s.isGone() || s.refused != nil && v.free(s) {
			v.remove(s)
		}
		if s.removing {
			continue
		}
		if told != nil {
			c := make(chan error, 1)
			s.post(c)
			wanted, names = append(wanted, c), append(names, s.Name)
		}
	}
	if told == nil {
		return
	}
	go func() { // it may take as long as the slowest script
		var errs []error
		for i, c := range wanted {
			if err := <-c; err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", names[i], err))
			}
		}
		told <- errors.Join(errs...)
	}()
}

// hasBelow tells whether scripts are known below a path.
func (v *Supervisor) hasBelow(path string) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return slices.ContainsFunc(v.scripts, func(s *Script) bool { return filepath.Dir(s.Path) == filepath.Clean(path) && s.found })
}

// once logs an error about a path when it is another than the last.
func (v *Supervisor) once(path string, err error) {
	text := ""
	if err != nil {
		text = err.Error()
	}
	if text != v.trouble[path] && err != nil {
		v.opt.Log.Error("directory cannot be read", "path", path, "err", plainError(err))
	}
	v.trouble[path] = text
}

// find starts the script of a path unless it is known. found tells that it is in a directory.
func (v *Supervisor) find(ctx context.Context, path string, found bool) {
	path = filepath.Clean(path)
	v.mu.Lock()
	defer v.mu.Unlock()
	if slices.ContainsFunc(v.scripts, func(s *Script) bool { return s.Path == path }) {
		return
	}
	s := &Script{Name: Name(path), Path: path, v: v, found: found, file: File{Path: path}, changes: make(chan Change), mail: make(chan struct{}, 1)}
	for _, o := range v.scripts {
		if o.Name == s.Name {
			s.refused = fmt.Errorf("the name '%s' is taken by %s", s.Name, o.Path)
			s.Name = path
		}
	}
	s.status = Status{Name: s.Name, Path: path, State: Starting, Since: time.Now()}
	ctx, s.stop = context.WithCancel(ctx)
	s.look()
	v.scripts = append(v.scripts, s)
	slices.SortFunc(v.scripts, func(a, b *Script) int { return strings.Compare(a.Name, b.Name) })
	s.done = make(chan struct{})
	v.running.Go(func() {
		defer close(s.done)
		s.run(ctx)
	})
}

// free tells whether the name that a script was refused for is free by now. The next look then finds it as a new one.
func (v *Supervisor) free(s *Script) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return !slices.ContainsFunc(v.scripts, func(o *Script) bool { return o.Name == Name(s.Path) })
}

// remove stops a script whose file is gone. The others need not wait for it.
func (v *Supervisor) remove(s *Script) {
	if s.removing {
		return
	}
	s.removing = true
	v.opt.Log.Info("script removed", "script", s.Name)
	s.stop()
	v.running.Go(func() {
		<-s.done
		v.mu.Lock()
		defer v.mu.Unlock()
		v.scripts = slices.DeleteFunc(v.scripts, func(o *Script) bool { return o == s })
	})
}

// Status is the state of all scripts by name. ready tells whether all run, or have run to their end.
func (v *Supervisor) Status() (all []Status, ready bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	ready = v.looked
	for _, s := range v.scripts {
		st := s.Status()
		ready = ready && (st.State == Running || st.State == Ended)
		all = append(all, st)
	}
	return all, ready
}
