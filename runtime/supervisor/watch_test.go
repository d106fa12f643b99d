package supervisor_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/slopebpf/slope/bpf/bpftest"
	"github.com/slopebpf/slope/runtime/supervisor"
)

func TestMain(m *testing.M) { bpftest.Main(m) }

func put(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func swap(t *testing.T, target, link string) {
	t.Helper()
	if err := os.Symlink(target, link+".tmp"); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(link+".tmp", link); err != nil {
		t.Fatal(err)
	}
}

// TestWatcher changes a file in every way: each is seen by an event, before the clock would look.
func TestWatcher(t *testing.T) {
	dir := t.TempDir()
	path, away := dir+"/in/a.slo", dir+"/away"
	put(t, path, "1")
	put(t, away+"/v1/a.slo", "link 1")
	put(t, away+"/v2/a.slo", "link 2")
	w := supervisor.NewWatcher(func() []string { return []string{path} })
	defer w.Close()
	f := supervisor.File{Path: path}
	if text, changed, err := f.Look(); text != "1" || !changed || err != nil {
		t.Fatalf("first look: %q, %t, %v", text, changed, err)
	}
	for _, c := range []struct {
		what, want string
		do         func()
	}{
		{"written in place", "2", func() { put(t, path, "2") }},
		{"written twice at once", "4", func() { put(t, path, "3"); put(t, path, "4") }},
		{"renamed over", "5", func() { put(t, dir+"/in/new", "5"); os.Rename(dir+"/in/new", path) }},
		{"now a link", "link 1", func() { swap(t, away+"/data/a.slo", path); swap(t, "v1", away+"/data") }},
		{"a link on the way swapped", "link 2", func() { swap(t, "v2", away+"/data") }},
		{"written where the link points to", "link 3", func() { put(t, away+"/v2/a.slo", "link 3") }},
		{"removed and made", "6", func() { os.Remove(path); put(t, path, "6") }},
	} {
		began := time.Now()
		c.do()
		bpftest.Eventually(t, 10*time.Second, c.what, func() bool {
			<-w.Looks()
			text, changed, err := f.Look()
			return changed && err == nil && text == c.want
		})
		t.Logf("%s: seen after %s", c.what, time.Since(began).Round(time.Millisecond))
	}
	os.Remove(path)
	bpftest.Eventually(t, 10*time.Second, "the removal", func() bool {
		<-w.Looks()
		text, changed, err := f.Look()
		return text == "6" && !changed && err != nil && err.Error() == "no such file or directory"
	})
	put(t, path, "6")
	bpftest.Eventually(t, 10*time.Second, "it is back", func() bool { <-w.Looks(); _, err := os.Stat(path); return err == nil })
	if _, changed, err := f.Look(); changed || err != nil {
		t.Errorf("the same text again: changed %t, %v", changed, err)
	}
}
