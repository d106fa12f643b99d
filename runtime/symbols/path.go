package symbols

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// ErrNoFile says that a name means no file.
var ErrNoFile = errors.New("no such executable or library")

// libraryDirs are searched for libraries that the loader's cache does not have.
func libraryDirs() []string {
	return []string{"/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu", "/lib64", "/usr/lib64", "/lib", "/usr/lib",
		"/usr/local/lib"}
}

// ResolvePath finds the file that a name means: a path, a command on PATH, or a library ("libc", "libssl.so.3") among
// those the process has mapped, in the loader's cache or in the usual folders. With a pid greater than 0 absolute
// names are those of the process's own file system, and "" is its executable.
func ResolvePath(name string, pid int) (string, error) {
	root := ""
	if pid > 0 {
		root = "/proc/" + strconv.Itoa(pid) + "/root"
	}
	var found string
	switch {
	case name == "" && pid > 0:
		found = "/proc/" + strconv.Itoa(pid) + "/exe"
	case name == "":
	case strings.HasPrefix(name, "/"):
		found = regular(inRoot(root, name))
	case strings.Contains(name, "/"):
		if pid > 0 {
			found = inDirectory("/proc/"+strconv.Itoa(pid), root, name)
		}
		if found == "" {
			found = regular(name)
		}
	default:
		found = search(name, root, pid)
	}
	if found != "" {
		return found, nil
	}
	if root != "" {
		if _, err := os.Stat(root + "/"); errors.Is(err, os.ErrNotExist) { // it may have ended meanwhile
			return "", fmt.Errorf("find %q in process %d: %w: there is no such process", name, pid, ErrNoFile)
		}
	}
	return "", fmt.Errorf("find %q: %w", name, ErrNoFile)
}

// MatchPaths finds the files that a pattern of shell matching means, in order: paths for a pattern with '/'; otherwise
// those that the process has mapped, by their last part, or without a pid greater than 0 commands on PATH.
func MatchPaths(pattern string, pid int) ([]string, error) {
	root := ""
	if pid > 0 {
		root = "/proc/" + strconv.Itoa(pid) + "/root"
	}
	if pid > 0 && !strings.Contains(pattern, "/") {
		proc := new(Processes).read(pid)
		if proc == nil {
			return nil, fmt.Errorf("read the mappings of process %d: %w: there is no such process", pid, ErrNoFile)
		}
		var out []string
		for _, r := range proc.regions {
			if base, err := filepath.Match(pattern, filepath.Base(r.Path)); err != nil || !base {
				continue
			}
			if file := regular(inRoot(root, r.Path)); file != "" && !slices.Contains(out, file) {
				out = append(out, file)
			}
		}
		slices.Sort(out)
		return out, nil
	}
	patterns := []string{inRoot(root, pattern)}
	if !strings.Contains(pattern, "/") {
		patterns = nil
		for _, dir := range filepath.SplitList(os.Getenv("PATH")) {
			if filepath.IsAbs(dir) {
				patterns = append(patterns, filepath.Join(dir, pattern))
			}
		}
	}
	var out []string
	for _, p := range patterns {
		files, err := filepath.Glob(p)
		if err != nil {
			return nil, fmt.Errorf("match %q: %w", pattern, err)
		}
		for _, f := range files {
			if f = within(f); isELF(f) && !slices.Contains(out, f) {
				out = append(out, f)
			}
		}
	}
	slices.Sort(out)
	return out, nil
}

// inRoot puts a path below the root of another process, unless that is ours anyway.
func inRoot(root, path string) string {
	if root == "" {
		return path
	}
	theirs, err1 := os.Stat(root + "/")
	ours, err2 := os.Stat("/")
	if err1 == nil && err2 == nil && os.SameFile(theirs, ours) {
		return path
	}
	return follow(root, path)
}

// follow puts a path below a root. Its links are followed as they are there: an absolute one leads from the root on, and none out of it.
// What is not there is put below as it is.
func follow(root, path string) string {
	const most = 40 // links, as the kernel has it
	done, rest := "", path
	for links := 0; rest != ""; {
		part, more, _ := strings.Cut(rest, "/")
		rest = more
		switch part {
		case "", ".":
			continue
		case "..":
			done = strings.TrimSuffix(filepath.Dir("/"+done), "/")
			continue
		}
		target, err := os.Readlink(root + done + "/" + part)
		if err != nil {
			done += "/" + part
			continue
		}
		if links++; links > most {
			return root + path
		}
		if filepath.IsAbs(target) {
			done = ""
		}
		rest = target + "/" + rest
	}
	return root + done
}

// within follows the links of a path below the root of a process as they are there.
func within(path string) string {
	if root := processRoot(path); root != "" {
		return follow(root, strings.TrimPrefix(path, root))
	}
	return path
}

// inDirectory finds a regular file by its name in the working directory of a process: below its root, or else where the directory's
// link leads, by the plain name where that means the same file.
func inDirectory(process, root, name string) string {
	dir, err := os.Readlink(process + "/cwd")
	if at, e := os.Readlink(process + "/root"); err == nil && e == nil {
		if below, is := strings.CutPrefix(dir, strings.TrimSuffix(at, "/")); is {
			if found := regular(inRoot(root, filepath.Join("/", below, name))); found != "" {
				return found
			}
		}
	}
	found := regular(process + "/cwd/" + name)
	if err == nil && found != "" {
		plain := filepath.Join(dir, name)
		theirs, err1 := os.Stat(found)
		ours, err2 := os.Stat(plain)
		if err1 == nil && err2 == nil && os.SameFile(theirs, ours) {
			return plain
		}
	}
	return found
}

// regular returns the path, with the links below the root of a process followed, if it is a regular file.
func regular(path string) string {
	path = within(path)
	if st, err := os.Stat(path); err == nil && st.Mode().IsRegular() {
		return path
	}
	return ""
}

func search(name, root string, pid int) string {
	library := strings.HasPrefix(name, "lib") || strings.Contains(name, ".so")
	if pid > 0 {
		if path := mapped(name, pid); path != "" {
			if found := regular(inRoot(root, path)); found != "" {
				return found
			}
		}
	}
	if !library || !strings.Contains(name, ".so") {
		for _, dir := range filepath.SplitList(os.Getenv("PATH")) {
			if !filepath.IsAbs(dir) {
				continue
			}
			path := inRoot(root, filepath.Join(dir, name))
			if st, err := os.Stat(path); err == nil && st.Mode().IsRegular() && st.Mode()&0o111 != 0 {
				return path
			}
		}
	}
	if library {
		if cache, err := os.ReadFile(inRoot(root, "/etc/ld.so.cache")); err == nil {
			if path := lookupCache(cache, name); path != "" {
				if found := regular(inRoot(root, path)); found != "" {
					return found
				}
			}
		}
		for _, dir := range libraryDirs() {
			if found := inDir(inRoot(root, dir), name); found != "" {
				return found
			}
		}
	}
	return regular(name)
}

// means tells whether a file is what a library's name means: the name itself, or the name, ".so" and a version.
func means(name, file string) bool {
	if file == name {
		return true
	}
	rest, ok := strings.CutPrefix(file, name)
	if !ok {
		return false
	}
	if strings.Contains(name, ".so") {
		return strings.HasPrefix(rest, ".")
	}
	return rest == ".so" || strings.HasPrefix(rest, ".so.")
}

func inDir(dir, name string) string {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return ""
	}
	for _, e := range entries {
		if means(name, e.Name()) {
			path := within(filepath.Join(dir, e.Name()))
			// libc.so is often a linker script
			if isELF(path) {
				return path
			}
		}
	}
	return ""
}

func isELF(path string) bool {
	f, err := OpenRegular(path)
	if err != nil {
		return false
	}
	defer f.Close()
	var magic [4]byte
	_, err = f.Read(magic[:])
	return err == nil && string(magic[:]) == "\x7fELF"
}

// mapped finds a file among the mappings of a process.
func mapped(name string, pid int) string {
	maps, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/maps")
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(maps)) {
		if i := strings.IndexByte(line, '/'); i >= 0 {
			path := strings.TrimSuffix(line[i:], "\n")
			if !strings.HasSuffix(path, " (deleted)") && means(name, filepath.Base(path)) {
				return path
			}
		}
	}
	return ""
}

// lookupCache finds a library for x86-64 in the loader's cache, the format "glibc-ld.so.cache1.1": a header of 48
// bytes, entries of 24 with the flags and the offsets of name and path, then the strings.
func lookupCache(cache []byte, name string) string {
	const header, entry, flags64 = 48, 24, 0x0303 // ELF, libc6, x86-64
	at := bytes.Index(cache, []byte("glibc-ld.so.cache1.1"))
	if at < 0 || len(cache)-at < header {
		return ""
	}
	c, le := cache[at:], binary.LittleEndian
	var names, paths []string
	for i := range uint64(le.Uint32(c[20:])) {
		e := header + i*entry
		if e+entry > uint64(len(c)) {
			break
		}
		if le.Uint32(c[e:])&0xffff != flags64 {
			continue
		}
		if lib := string(cString(c, uint64(le.Uint32(c[e+4:])))); means(name, lib) {
			names = append(names, lib)
			paths = append(paths, string(cString(c, uint64(le.Uint32(c[e+8:])))))
		}
	}
	if i := slices.Index(names, name); i >= 0 {
		return paths[i]
	}
	for _, p := range paths { // the cache is sorted with the newest version first
		if p != "" {
			return p
		}
	}
	return ""
}
