// Package bpftest helps tests that need the kernel: Require skips with the reason why something is missing, and Main
// fails a package that leaves file descriptors open.
//
// It imports nothing of the project, so every package may use it in its tests. Start at Require and Main.
package bpftest

import (
	"fmt"
	"maps"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// requireKernel is the variable that turns skips into failures.
const requireKernel = "REQUIRE_KERNEL"

// Require skips the test when one of the errors, each the answer of a feature probe, says that something is missing.
// With REQUIRE_KERNEL=1 the test fails instead.
func Require(t testing.TB, missing ...error) {
	t.Helper()
	for _, err := range missing {
		if err == nil {
			continue
		}
		if os.Getenv(requireKernel) == "1" {
			t.Fatalf("%s=1, but: %v", requireKernel, err)
		}
		t.Skip(err)
	}
}

// FileSystem mounts a file system of a type that needs no device, and returns where. It is gone after the test.
func FileSystem(t testing.TB, kind, options string) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("none", dir, kind, 0, options); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// Main runs a package's tests and fails if they leave more file descriptors of any kind than there were before.
// Call it from TestMain.
func Main(m *testing.M) {
	// The runtime's poller keeps two descriptors from its first use on: use it before counting.
	if r, w, err := os.Pipe(); err == nil {
		r.SetReadDeadline(time.Now())
		r.Close()
		w.Close()
	}
	before := Descriptors()
	code := m.Run()
	if leaked := leaks(before); leaked != "" && code == 0 {
		fmt.Fprintf(os.Stderr, "FAIL: file descriptors left open: %s\n", leaked)
		code = 1
	}
	os.Exit(code)
}

// leaks waits for finalizers and then compares. Only growth counts.
func leaks(before map[string]int) string {
	deadline := time.Now().Add(2 * time.Second)
	for {
		after := Descriptors()
		if maps.Equal(before, after) {
			return ""
		}
		if time.Now().After(deadline) {
			var out []string
			for kind, n := range after {
				if n > before[kind] {
					out = append(out, fmt.Sprintf("%d %s", n-before[kind], kind))
				}
			}
			return strings.Join(out, ", ")
		}
		runtime.Gosched()
		time.Sleep(time.Millisecond)
	}
}

// Descriptors counts this process's open file descriptors by kind: "anon_inode:bpf-map", "socket", a path.
func Descriptors() map[string]int {
	out := map[string]int{}
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return out
	}
	for _, e := range entries {
		target, err := os.Readlink("/proc/self/fd/" + e.Name())
		if err != nil { // the directory's own descriptor
			continue
		}
		if kind, _, ok := strings.Cut(target, ":["); ok && !strings.HasPrefix(target, "anon_inode:") {
			target = kind
		}
		if strings.HasPrefix(target, "/") {
			target = strings.TrimSuffix(target, " (deleted)")
		}
		out[target]++
	}
	return out
}

// Eventually polls until a condition holds; the test fails after the deadline.
func Eventually(t testing.TB, within time.Duration, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(within); !holds(); time.Sleep(200 * time.Microsecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %s: %s", within, what)
		}
	}
}
