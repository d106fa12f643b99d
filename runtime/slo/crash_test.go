package slo

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

var errCrash = errors.New("the machine stopped")

// node is a file: what it holds, and what of it would survive.
type node struct{ data, durable []byte }

// crashDisk is a directory in memory on a machine that stops before step number left, of create, write, sync, rename and
// sync of the directory. What was not synchronised may be there after that, in part.
type crashDisk struct {
	left    int
	names   map[string]*node
	durable map[string]*node         // the directory as of its last sync
	pending []func(map[string]*node) // its changes since
}

func newCrashDisk(left int) *crashDisk {
	return &crashDisk{left: left, names: map[string]*node{}, durable: map[string]*node{}}
}

func (d *crashDisk) step() error {
	if d.left == 0 {
		return errCrash
	}
	d.left--
	return nil
}

func (d *crashDisk) change(f func(map[string]*node)) {
	f(d.names)
	d.pending = append(d.pending, f)
}

func (d *crashDisk) read(path string) ([]byte, error) {
	if n := d.names[path]; n != nil {
		return slices.Clone(n.data), nil
	}
	return nil, fs.ErrNotExist
}

func (d *crashDisk) exists(path string) (bool, error) { return d.names[path] != nil, nil }

func (d *crashDisk) create(path string) (file, error) {
	if err := d.step(); err != nil {
		return nil, err
	}
	n := d.names[path]
	if n == nil {
		n = &node{}
		d.change(func(names map[string]*node) { names[path] = n })
	}
	n.data = nil
	return crashFile{d, n}, nil
}

func (d *crashDisk) rename(from, to string) error {
	if err := d.step(); err != nil {
		return err
	}
	if d.names[from] == nil {
		return fs.ErrNotExist
	}
	d.change(func(names map[string]*node) {
		if names[from] != nil {
			names[to] = names[from]
			delete(names, from)
		}
	})
	return nil
}

func (d *crashDisk) sync(string) error {
	if err := d.step(); err != nil {
		return err
	}
	d.durable, d.pending = maps.Clone(d.names), nil
	return nil
}

type crashFile struct {
	disk *crashDisk
	n    *node
}

// Write writes half of it when the machine stops at the write.
func (f crashFile) Write(b []byte) (int, error) {
	if err := f.disk.step(); err != nil {
		f.n.data = append(f.n.data, b[:len(b)/2]...)
		return len(b) / 2, err
	}
	f.n.data = append(f.n.data, b...)
	return len(b), nil
}

func (f crashFile) Sync() error {
	if err := f.disk.step(); err != nil {
		return err
	}
	f.n.durable = slices.Clone(f.n.data)
	return nil
}

func (f crashFile) Close() error { return nil }

// after are the disks that may be found: with any number of the changes of the directory, and of each file what was
// synchronised, what was written, or half of it.
func (d *crashDisk) after() []*crashDisk {
	var all []*crashDisk
	for changes := range len(d.pending) + 1 {
		names := maps.Clone(d.durable)
		for _, f := range d.pending[:changes] {
			f(names)
		}
		for variant := range 3 {
			found := newCrashDisk(-1)
			for name, n := range names {
				data := n.durable
				if !slices.Equal(n.data, n.durable) && variant > 0 {
					data = n.data[:len(n.data)/variant]
				}
				found.names[name] = &node{slices.Clone(data), slices.Clone(data)}
			}
			found.durable = maps.Clone(found.names)
			all = append(all, found)
		}
	}
	return all
}

// TestStopAtEveryStep stops the machine before each step of some saves. After each the state is whole, is the last one that
// was saved or the one that was being saved, and nothing is found damaged.
func TestStopAtEveryStep(t *testing.T) {
	const saves = 4
	found, steps := 0, 0
	for ; ; steps++ {
		disk := newCrashDisk(steps)
		store := &Store{files: disk, path: "d/x.state"}
		tr := newTracker(t, script(), Options{})
		s := &scene{newStream(7), "a"}
		var times []time.Time
		var stopped error
		for len(times) < saves && stopped == nil {
			s.observe(tr)
			if stopped = store.Save(tr); stopped == nil {
				times = append(times, tr.clock.label(tr.clock.now))
			} else if !errors.Is(stopped, errCrash) {
				t.Fatal(stopped)
			}
		}
		last := tr.clock.label(tr.clock.now) // perhaps not saved
		for i, disk := range disk.after() {
			store := &Store{files: disk, path: "d/x.state"}
			l, err := store.Load(newTracker(t, script(), Options{}), at(s.d))
			if err != nil || len(l.Problems) > 0 {
				t.Fatalf("step %d, disk %d: %v %v", steps, i, err, l.Problems)
			}
			newest := time.Time{}
			if len(times) > 0 {
				newest = times[len(times)-1]
			}
			if !l.SavedAt.Equal(newest) && !l.SavedAt.Equal(last) {
				t.Errorf("step %d, disk %d: got the state of %s, want that of %s or %s", steps, i, l.SavedAt, newest, last)
			}
			found++
		}
		if stopped == nil {
			break
		}
	}
	t.Logf("%d steps, %d disks", steps, found)
	if steps < saves*6 || found < 100 {
		t.Errorf("got only %d steps, %d disks", steps, found)
	}
}

// TestStopWhileSettingAside stops the machine before each step of a Load that sets aside a damaged state and archives the
// one before it, and of the Save after it. No history is lost: it is in the state or the archive.
func TestStopWhileSettingAside(t *testing.T) {
	tr := newTracker(t, script(), Options{})
	s := &scene{newStream(8), "a"}
	s.observe(tr)
	data := tr.encode()
	other := script()
	other[0].Key = "another"
	for steps := 0; ; steps++ {
		disk := newCrashDisk(steps)
		disk.names["d/x.state"] = &node{data[:9], data[:9]}
		disk.names["d/x.state.1"] = &node{data, data}
		disk.durable = maps.Clone(disk.names)
		store := &Store{files: disk, path: "d/x.state"}
		b := newTracker(t, other, Options{})
		_, err := store.Load(b, at(s.d))
		if err != nil && b.clock.started {
			t.Fatalf("step %d: a tracker was given a state with %v", steps, err)
		}
		if err == nil {
			b.Observe(at(s.d), nil)
			err = store.Save(b)
		}
		for i, disk := range disk.after() {
			store := &Store{files: disk, path: "d/x.state"}
			if _, err := store.Load(newTracker(t, other, Options{}), at(s.d)); err != nil {
				t.Fatalf("step %d, disk %d: %v", steps, i, err)
			}
			kept := false
			for name, n := range disk.names {
				f, err := decode(n.data)
				if err == nil && f.find("fast").key == "k1" && name != "d/x.state.tmp" {
					kept = true
				}
			}
			if !kept {
				t.Errorf("step %d, disk %d: the history is gone: %v", steps, i, slices.Collect(maps.Keys(disk.names)))
			}
		}
		if err == nil {
			break
		}
	}
}

// TestKill kills a process that saves all the time, and takes the state over.
func TestKill(t *testing.T) {
	const variable = "SLOPE_TEST_STATE"
	if dir := os.Getenv(variable); dir != "" {
		saveForever(t, dir)
	}
	kills := 8
	if soak() {
		kills = 500
	}
	dir := t.TempDir()
	started := time.Time{}
	for i := range kills {
		child := exec.Command(os.Args[0], "-test.run=^TestKill$")
		child.Env = append(os.Environ(), variable+"="+dir)
		out, err := child.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		last, n := int64(0), 0
		for ; n < 3+i%20*4 && lines.Scan(); n++ {
			if last, err = strconv.ParseInt(lines.Text(), 10, 64); err != nil {
				t.Fatalf("child %d says %q", i, lines.Text())
			}
			if n == 1 {
				if _, err := OpenStore(dir, "x"); !errors.Is(err, ErrInUse) {
					t.Errorf("child %d: got %v, want %v", i, err, ErrInUse)
				}
			}
		}
		if err := child.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		for lines.Scan() { // what it still said before it was killed
			if v, err := strconv.ParseInt(lines.Text(), 10, 64); err == nil {
				last = v
			}
		}
		if err := child.Wait(); err == nil {
			t.Fatalf("child %d ended by itself", i)
		}
		store, err := OpenStore(dir, "x")
		if err != nil {
			t.Fatal(err)
		}
		l, err := store.Load(newTracker(t, script(), Options{}), at(0))
		if err != nil || len(l.Problems) > 0 {
			t.Fatalf("child %d: %v %v", i, err, l.Problems)
		}
		if l.SavedAt.UnixNano() < last || !l.SavedAt.After(started) {
			t.Errorf("child %d: got the state of %s, want one from %s on", i, l.SavedAt, time.Unix(0, last))
		}
		started = l.SavedAt
		store.Close()
	}
	if aside, _ := filepath.Glob(dir + "/*-*"); aside != nil {
		t.Errorf("set aside: %q", aside)
	}
}

// saveForever takes a state over, and saves one after the other and says which. It gives up when nobody listens.
func saveForever(t *testing.T, dir string) {
	store, err := OpenStore(dir, "x")
	if err != nil {
		t.Fatal(err)
	}
	tr := newTracker(t, script(), Options{BootID: "b", Pinned: true})
	if _, err := store.Load(tr, at(0)); err != nil {
		t.Fatal(err)
	}
	now, v := at(0), uint64(0)
	if tr.clock.started {
		now = Instant{time.Unix(0, tr.clock.now), time.Duration(tr.clock.boot)}
		v = tr.objectives[0].sorted[0].raw.Total
	}
	for {
		now.Wall, now.Boot, v = now.Wall.Add(10*time.Second), now.Boot+10*time.Second, v+7
		tr.Observe(now, []Reading{{0, "a", v / 10, v, 0}, {1, "", 0, v, 0}})
		if err := store.Save(tr); err != nil {
			t.Fatal(err)
		}
		if _, err := fmt.Println(tr.clock.now); err != nil {
			os.Exit(1)
		}
	}
}

// TestNotes: what Load found is said in words.
func TestNotes(t *testing.T) {
	l := Loaded{Archived: []string{"fast"}, Dropped: []string{"old"}, Archive: "d/x.state.archive-1", Problems: []error{ErrDamaged}, File: "f"}
	if got := strings.Join(l.Notes(), "\n"); !strings.Contains(got, `"fast" counts something else`) || !strings.Contains(got, `"old" is no longer`) || len(l.Notes()) != 4 {
		t.Errorf("got %s", got)
	}
}
