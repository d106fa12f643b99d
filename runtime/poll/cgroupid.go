package poll

import (
	"io/fs"
	"path"
	"path/filepath"
	"sort"
	"strings"

	"golang.org/x/sys/unix"
)

// CgroupPaths finds the paths of a cgroup by its ID, in every hierarchy whose name matches the pattern: the last part of
// the place where it is mounted, "unified" for that of version 2. They are like "unified:/system.slice", the unified one
// first.
func CgroupPaths(id uint64, pattern string) []string {
	roots, err := Hierarchies()
	if err != nil {
		return nil
	}
	var v2, v1 []string
	for _, root := range roots {
		name, unified := filepath.Base(root), isUnified(root)
		if unified {
			name = "unified"
		}
		if ok, err := path.Match(pattern, name); !ok || err != nil {
			continue
		}
		place, ok := cgroupByID(root, id)
		switch {
		case !ok:
		case unified:
			v2 = append(v2, name+":"+place)
		default:
			v1 = append(v1, name+":"+place)
		}
	}
	sort.Strings(v1)
	return append(v2, v1...)
}

func isUnified(root string) bool {
	var st unix.Statfs_t
	return unix.Statfs(root, &st) == nil && st.Type == unix.CGROUP2_SUPER_MAGIC
}

// cgroupByID finds the directory whose inode number is the cgroup's ID, by its path below the root.
func cgroupByID(root string, id uint64) (place string, ok bool) {
	filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() { // it may have gone since it was listed
			return nil
		}
		if inode(p) != id {
			return nil
		}
		place, ok = "/"+strings.TrimPrefix(strings.TrimPrefix(p, root), "/"), true
		return filepath.SkipAll
	})
	return place, ok
}

func inode(path string) uint64 {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return 0
	}
	return st.Ino
}
