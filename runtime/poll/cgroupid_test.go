package poll

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestCgroupPaths finds the roots, and a cgroup that this test makes, by the inode number of its directory.
func TestCgroupPaths(t *testing.T) {
	roots, err := Hierarchies()
	if err != nil {
		t.Skip(err)
	}
	var root string
	for _, r := range roots {
		if isUnified(r) {
			root = r
		}
	}
	if root == "" {
		t.Skip("no unified hierarchy")
	}
	if got := CgroupPaths(inode(root), "*"); !slices.Contains(got, "unified:/") {
		t.Errorf("the root: got %q", got)
	}
	dir, err := os.MkdirTemp(root, "slope-test-")
	if err != nil {
		t.Skip(err)
	}
	defer os.Remove(dir)
	want := "unified:/" + filepath.Base(dir)
	if got := CgroupPaths(inode(dir), "uni*"); len(got) != 1 || got[0] != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := CgroupPaths(inode(dir), "memory"); slices.ContainsFunc(got, func(s string) bool { return strings.HasPrefix(s, "unified") }) {
		t.Errorf("the filter does not filter: got %q", got)
	}
	if got := CgroupPaths(1<<60, "*"); len(got) != 0 {
		t.Errorf("no cgroup: got %q", got)
	}
}
