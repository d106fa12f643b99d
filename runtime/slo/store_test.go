package slo

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

func script() []Objective {
	return []Objective{
		{Name: "fast", Key: "k1", PPB: 999_000_000, Window: Window{Rolling: MaxWindow}, Grouped: true, Page: DefaultPage(), Ticket: DefaultTicket()},
		{Name: "up", Key: "k2", PPB: 990_000_000, Window: Window{Period: Quarter, Zone: "Europe/Berlin"}, Minutes: true, NoData: NoDataAlert, Page: DefaultPage()},
		{Name: "sum", Key: "k3", Window: Window{Rolling: MaxWindow}, Parts: []Part{{0, 1}}, Page: DefaultPage()},
	}
}

// scene feeds trackers with the same readings.
type scene struct {
	*stream
	group string
}

func (s *scene) observe(all ...*Tracker) [][]Change {
	s.step(true)
	if s.rng.IntN(3) == 0 {
		s.group = []string{"a", "b\x00c", "other"}[s.rng.IntN(3)]
	}
	r := s.reading()[0]
	readings := []Reading{{0, s.group, r.Bad / 10, r.Total, r.Lost}, {1, "", r.Bad / 100, r.Total, 0}}
	var changes [][]Change
	for _, tr := range all {
		changes = append(changes, tr.Observe(at(s.d), readings))
	}
	return changes
}

func newTracker(t testing.TB, o []Objective, options Options) *Tracker {
	t.Helper()
	tr, err := NewTracker(o, options)
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

func openStore(t testing.TB, dir string) *Store {
	t.Helper()
	s, err := OpenStore(dir, "checkout.slo")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func load(t testing.TB, s *Store, tr *Tracker, now Instant) Loaded {
	t.Helper()
	l, err := s.Load(tr, now)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// TestResume: a tracker whose counters are pinned goes on as if nothing had happened.
func TestResume(t *testing.T) {
	store := openStore(t, t.TempDir())
	options := Options{BootID: "b", Pinned: true}
	a := newTracker(t, script(), options)
	s := &scene{newStream(3), "a"}
	for range 3000 {
		s.observe(a)
	}
	if err := store.Save(a); err != nil {
		t.Fatal(err)
	}
	b := newTracker(t, script(), options)
	l := load(t, store, b, at(s.d))
	if !slices.Equal(l.Resumed, []string{"fast", "up", "sum"}) || l.Fresh != nil || l.Notes() != nil || !l.SavedAt.Equal(noon.Add(s.d)) {
		t.Errorf("got %+v", l)
	}
	if _, err := store.Load(b, at(s.d)); err == nil {
		t.Error("a tracker was loaded twice")
	}
	if !bytes.Equal(a.encode(), b.encode()) {
		t.Error("a state that was loaded is not the one that was saved")
	}

	for i := range 3000 {
		c := s.observe(a, b)
		if !reflect.DeepEqual(c[0], c[1]) {
			t.Fatalf("reading %d: got %+v, want %+v", i, c[1], c[0])
		}
	}
	for o := range script() {
		if got, want := b.Status(o), a.Status(o); !reflect.DeepEqual(got, want) {
			t.Errorf("got %+v, want %+v", got, want)
		}
	}
	if !bytes.Equal(a.encode(), b.encode()) {
		t.Error("the trackers went apart")
	}
}

// TestRestart: counters that begin anew are added, and the time between is missed, whatever the clocks do.
func TestRestart(t *testing.T) {
	for _, c := range []struct {
		what     string
		boot     string
		at       Instant
		coverage uint32 // of the last hour
		shift    time.Duration
	}{
		{"after 5 s", "b", at(time.Hour + 5*time.Second), 998_611, 0},
		{"after half an hour", "b", at(90 * time.Minute), 500_000, 0},
		{"after a reboot", "c", Instant{noon.Add(90 * time.Minute), time.Minute}, 500_000, 0},
		{"after a reboot, nobody says so", "b", Instant{noon.Add(90 * time.Minute), time.Minute}, 500_000, 0},
		{"the clock set back meanwhile", "b", Instant{noon.Add(-30 * time.Minute), time.Hour + 90*time.Minute}, 500_000, -2 * time.Hour},
		{"a reboot and the clock back", "c", Instant{noon.Add(-time.Hour), time.Minute}, 1_000_000, -2 * time.Hour},
	} {
		store := openStore(t, t.TempDir())
		o := []Objective{{Name: "a", PPB: 990_000_000, Window: Window{Rolling: MaxWindow}}}
		tr := newTracker(t, o, Options{BootID: "b"})
		for d := time.Duration(0); d <= time.Hour; d += 10 * time.Second {
			tr.Observe(at(d), one(0, 100+uint64(d/time.Second)))
		}
		if err := store.Save(tr); err != nil {
			t.Fatal(err)
		}
		tr = newTracker(t, o, Options{BootID: c.boot})
		load(t, store, tr, c.at)
		if err := store.Save(tr); err != nil { // before the first reading: nothing
			t.Fatal(err)
		}
		tr.Observe(c.at, one(0, 4000))
		if got := tr.Over(0, "", 24*time.Hour).Total; got != 3700+4000 {
			t.Errorf("%s: got %d events", c.what, got)
		}
		if got := tr.Over(0, "", time.Hour); got.Coverage != c.coverage {
			t.Errorf("%s: got a coverage of %d, want %d", c.what, got.Coverage, c.coverage)
		}
		if got := time.Duration(tr.clock.shift); got != c.shift {
			t.Errorf("%s: got a shift of %s, want %s", c.what, got, c.shift)
		}
		store.Close()
	}
}

// TestOtherScript: history is kept when the target, the window, the policy or the alerts change, and set aside when what is
// counted does.
func TestOtherScript(t *testing.T) {
	dir := t.TempDir()
	store := openStore(t, dir)
	a := newTracker(t, script(), Options{})
	s := &scene{newStream(4), "a"}
	for range 2000 {
		s.observe(a)
	}
	if err := store.Save(a); err != nil {
		t.Fatal(err)
	}
	was := a.Status(0)

	o := script()
	o[0].PPB, o[0].Window, o[0].NoData, o[0].Page, o[0].Ticket = 500_000_000, Window{Period: Month}, NoDataBad, o[0].Ticket, o[0].Page[1:]
	o[1].Key = "k4"
	o[2].Name, o[2].Window = "other", Window{}
	b := newTracker(t, o, Options{})
	l := load(t, store, b, at(s.d))
	if !slices.Equal(l.Resumed, []string{"fast"}) || !slices.Equal(l.Archived, []string{"up"}) || !slices.Equal(l.Fresh, []string{"other"}) ||
		!slices.Equal(l.Dropped, []string{"sum"}) || len(l.Notes()) != 2 || len(l.Problems) != 0 {
		t.Errorf("got %+v", l)
	}
	b.Observe(at(s.d), nil)
	for i, g := range b.Status(0) {
		if g.Group != was[i].Group || g.Over.Sums != was[i].Over.Sums || !reflect.DeepEqual(g.Burns[3].Sums, was[i].Burns[3].Sums) {
			t.Errorf("got %+v, want %+v", g, was[i])
		}
	}
	if g := b.Status(1)[0]; g.Over.Total != 0 || g.Over.Coverage != 0 {
		t.Errorf("a new SLI has the history of another: %+v", g)
	}
	data, err := os.ReadFile(l.Archive)
	if err != nil {
		t.Fatal(err)
	}
	if old, err := decode(data); err != nil || old.find("up") == nil || old.find("sum") == nil {
		t.Errorf("the archive: %+v, %v", old, err)
	}
	for _, kind := range []func(o *Objective){func(o *Objective) { o.Minutes = false }, func(o *Objective) { o.Grouped = true }} {
		o := script()
		kind(&o[1])
		if l := load(t, store, newTracker(t, o, Options{}), at(s.d)); !slices.Equal(l.Archived, []string{"up"}) || !strings.HasSuffix(l.Archive, "-2") && !strings.HasSuffix(l.Archive, "-3") {
			t.Errorf("got %+v", l)
		}
	}
}

// TestDamage: a file in which any bit is another, or that ends early, is set aside, and the one before it is used.
func TestDamage(t *testing.T) {
	store := openStore(t, t.TempDir())
	a := newTracker(t, script(), Options{})
	s := &scene{newStream(5), "a"}
	for range 60 {
		s.observe(a)
	}
	if err := store.Save(a); err != nil {
		t.Fatal(err)
	}
	first := a.clock.label(a.clock.now)
	s.observe(a)
	if err := store.Save(a); err != nil {
		t.Fatal(err)
	}
	good, err := os.ReadFile(store.path)
	if err != nil {
		t.Fatal(err)
	}
	previous, err := os.ReadFile(store.path + ".1")
	if err != nil {
		t.Fatal(err)
	}
	newer := append([]byte(stateMagic), stateVersion+1)
	for i := range len(good) + 2 {
		bad, want := slices.Clone(good), ErrDamaged
		switch {
		case i == len(good):
			bad, want = seal(newer), ErrNewer
		case i > len(good):
			bad = append(bad, 0)
		case i%3 == 0:
			bad = bad[:i]
		default:
			bad[i] ^= 1 << (i % 8)
		}
		if _, err := decode(bad); !errors.Is(err, want) {
			t.Fatalf("damage %d: got %v, want %v", i, err, want)
		}
		if i%61 != 0 && i < len(good) {
			continue
		}
		if err := os.WriteFile(store.path, bad, 0o644); err != nil {
			t.Fatal(err)
		}
		tr := newTracker(t, script(), Options{})
		l := load(t, store, tr, at(time.Duration(i)*time.Second))
		if len(l.Problems) != 1 || !errors.Is(l.Problems[0], want) || l.File != store.path+".1" || !l.SavedAt.Equal(first) || len(l.Notes()) != 2 {
			t.Errorf("damage %d: got %+v", i, l)
		}
		aside, err := filepath.Glob(store.path + ".*-*")
		if err != nil || len(aside) != 1 {
			t.Fatalf("damage %d: got the files %q", i, aside)
		}
		if kept, err := os.ReadFile(aside[0]); err != nil || !bytes.Equal(kept, bad) {
			t.Errorf("damage %d: the file that was set aside is another one", i)
		}
		if err := os.Remove(aside[0]); err != nil {
			t.Fatal(err)
		}
	}
	// Both are damaged: a fresh start that says so.
	for _, path := range []string{store.path, store.path + ".1"} {
		if err := os.WriteFile(path, previous[:len(previous)-1], 0o644); err != nil {
			t.Fatal(err)
		}
	}
	tr := newTracker(t, script(), Options{})
	if l := load(t, store, tr, at(0)); len(l.Problems) != 2 || l.File != "" || tr.clock.started {
		t.Errorf("got %+v", l)
	}
	if l := load(t, store, tr, at(0)); len(l.Problems) != 0 || l.File != "" {
		t.Errorf("got %+v", l)
	}
}

func TestStoreErrors(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"", "a/b"} {
		if _, err := OpenStore(dir, name); err == nil {
			t.Errorf("the name %q is taken", name)
		}
	}
	store := openStore(t, dir)
	if _, err := OpenStore(dir, "checkout.slo"); !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), "another process uses it: process ") {
		t.Errorf("got %v, want %v", err, ErrInUse)
	}
	if err := os.Mkdir(store.path, 0o755); err != nil {
		t.Fatal(err)
	}
	tr := tracker(t, Objective{PPB: 1})
	if _, err := store.Load(tr, at(0)); err == nil {
		t.Error("a directory was read as a state")
	}
	tr.Observe(at(0), nil)
	if err := os.Mkdir(store.path+".tmp", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := store.Save(tr); err == nil {
		t.Error("a state was written to a directory")
	}
	if err := store.Close(); err != nil {
		t.Error(err)
	}
	if again, err := OpenStore(dir, "checkout.slo"); err != nil {
		t.Error(err)
	} else {
		again.Close()
	}
}

// FuzzState decodes anything that has the right sum. What is accepted must be usable.
func FuzzState(f *testing.F) {
	a := newTracker(f, script(), Options{BootID: "b"})
	s := &scene{newStream(6), "a"}
	for i := range 300 {
		s.observe(a)
		if i == 3 || i == 299 {
			data := a.encode()
			f.Add(data[len(stateMagic) : len(data)-4])
		}
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		old, err := decode(seal(append([]byte(stateMagic), body...)))
		if err != nil {
			if !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrNewer) {
				t.Errorf("got %v", err)
			}
			return
		}
		for _, options := range []Options{{BootID: "b"}, {BootID: "b", Pinned: true}, {}} {
			tr := newTracker(t, script(), options)
			var l Loaded
			l.compare(tr, old)
			now := Instant{time.Unix(0, old.clock.now), time.Duration(old.clock.boot)}
			tr.resume(old, now)
			for range 3 {
				tr.Observe(now, []Reading{{0, "a", 1, 2, 3}, {1, "", 1, 2, 3}})
				now.Wall, now.Boot = now.Wall.Add(time.Hour), now.Boot+time.Hour
			}
			for o := range script() {
				tr.Status(o)
			}
			if _, err := decode(tr.encode()); err != nil {
				t.Errorf("what was accepted is not when it is written again: %v", err)
			}
			if old, err = decode(seal(append([]byte(stateMagic), body...))); err != nil {
				t.Fatal(err)
			}
		}
	})
}
