// Vmtest runs the tests of packages on other kernels, each in a machine of its own under QEMU.
//
//	go run ./bpf/vmtest [-kernels DIR] [-run REGEX] [-short] [-v] [package ...]
//	go run ./bpf/vmtest -table FILE
//
// Every vmlinuz-* in the directory is booted without KVM, with an initial file system that holds a small first process,
// the compiled test binary, the package's testdata and what modules/RELEASE has: 2 to 3 seconds a package. run.sh fetches what is missing and calls
// this. The exit status is 1 when any test failed on any kernel, or when other tests were skipped than skips says. With -table
// nothing is booted: the table of what works where is written.
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// defaultPackages are those whose tests depend on the kernel; after '#', which of their tests.
var defaultPackages = []string{"./bpf", "./bpf/btf", "./bpf/tracefs", "./bpf/attach", "./compiler/backend", "./compiler/native",
	"./compiler", "./stdlib#TestExamples|TestTrampolinePatterns", "./scripts#TestSee", "./runtime/engine#TestKernelFunctions|TestIterators|TestPrograms|TestRefused|TestModule"}

// shortPackages are what shows in a minute or two whether the kernels are as the table says and probes can be attached.
var shortPackages = []string{"./bpf#TestCapabilities", "./bpf/attach"}

type options struct {
	short   bool
	kernels string
	run     string
	verbose bool
	memory  int
	limit   time.Duration
	table   string
}

func main() {
	var o options
	flag.StringVar(&o.kernels, "kernels", ".cache/vm", "directory with vmlinuz-* files")
	flag.StringVar(&o.run, "run", "", "only tests that match")
	flag.BoolVar(&o.short, "short", false, "only what takes a minute or two")
	flag.BoolVar(&o.verbose, "v", false, "print the output of tests that pass")
	flag.IntVar(&o.memory, "memory", 768, "MiB of memory of a machine")
	flag.DurationVar(&o.limit, "limit", 20*time.Minute, "longest run of one package on one kernel")
	flag.StringVar(&o.table, "table", "", "write the table of what works on which kernel to this file, as Markdown")
	flag.Parse()
	if o.table != "" {
		if err := writeTable(o.table); err != nil {
			fmt.Fprintln(os.Stderr, "vmtest:", err)
			os.Exit(1)
		}
		return
	}
	packages := flag.Args()
	if len(packages) == 0 {
		packages = defaultPackages
		if o.short {
			packages = shortPackages
		}
	}
	failed, err := matrix(o, packages)
	if err != nil {
		fmt.Fprintln(os.Stderr, "vmtest:", err)
		os.Exit(1)
	}
	if failed > 0 {
		fmt.Printf("%d failed\n", failed)
		os.Exit(1)
	}
}

// matrix runs every package on every kernel.
func matrix(o options, packages []string) (failed int, err error) {
	kernels, err := filepath.Glob(filepath.Join(o.kernels, "vmlinuz-*"))
	if err != nil || len(kernels) == 0 {
		return 0, fmt.Errorf("find kernels: no %s/vmlinuz-*", o.kernels)
	}
	dir, err := os.MkdirTemp("", "vmtest")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	guest := filepath.Join(dir, "guest")
	if err := goTool("build", "-trimpath", "-o", guest, "./bpf/vmtest/guest"); err != nil {
		return 0, err
	}
	for _, pkg := range packages {
		o := o
		if name, tests, ok := strings.Cut(pkg, "#"); ok && o.run == "" {
			pkg, o.run = name, tests
		}
		image, err := pack(dir, guest, pkg, o)
		if err != nil {
			return failed, err
		}
		for _, k := range kernels {
			began := time.Now()
			own, err := addModules(image, filepath.Join(o.kernels, "modules", strings.TrimPrefix(filepath.Base(k), "vmlinuz-")))
			if err != nil {
				return failed, err
			}
			status, out, err := boot(k, own, o)
			for tries := 1; err == nil && status == crashed && tries < boots && !strings.Contains(out, "=== RUN"); tries++ { // of QEMU's doing, under load
				fmt.Printf("     %s crashed before the first test, and is booted again\n", strings.TrimPrefix(filepath.Base(k), "vmlinuz-"))
				status, out, err = boot(k, own, o)
			}
			if err != nil {
				return failed, err
			}
			verdict := "ok"
			unlike, err := compareSkips(pkg, filepath.Base(k), out)
			if err != nil {
				return failed, err
			}
			if status != 0 || unlike != "" {
				verdict = "FAIL"
				failed++
			}
			fmt.Printf("%-4s %-20s %-32s %.1fs\n", verdict, pkg, strings.TrimPrefix(filepath.Base(k), "vmlinuz-"), time.Since(began).Seconds())
			if status != 0 || o.verbose {
				fmt.Println(out)
			}
			fmt.Print(unlike)
		}
	}
	return failed, nil
}

func goTool(args ...string) error {
	c := exec.Command("go", args...)
	c.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return nil
}

// pack makes the initial file system of one package.
func pack(dir, guest, pkg string, o options) (string, error) {
	test := filepath.Join(dir, "test")
	if err := goTool("test", "-c", "-trimpath", "-o", test, pkg); err != nil {
		return "", err
	}
	args := "-test.v"
	if o.run != "" {
		args += " -test.run " + o.run
	}
	image := filepath.Join(dir, "image.cpio")
	f, err := os.Create(image)
	if err != nil {
		return "", err
	}
	defer f.Close()
	w := &cpio{w: f}
	for _, d := range []string{"dev", "tests"} {
		w.add(d, fs.ModeDir|0o755, nil)
	}
	for name, from := range map[string]string{"init": guest, "tests/test": test} {
		data, err := os.ReadFile(from)
		if err != nil {
			return "", err
		}
		w.add(name, 0o755, data)
	}
	w.add("tests/args", 0o644, []byte(args))
	err = filepath.WalkDir(filepath.Join(pkg, "testdata"), func(path string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(pkg, path)
		if err != nil {
			return err
		}
		if e.IsDir() {
			w.add("tests/"+rel, fs.ModeDir|0o755, nil)
			return nil
		}
		data, err := os.ReadFile(path)
		w.add("tests/"+rel, 0o644, data)
		return err
	})
	if err != nil {
		return "", err
	}
	w.add("TRAILER!!!", 0, nil)
	return image, w.err
}

// addModules makes the initial file system of one kernel: that of the package, and the kernel's modules as a second archive.
func addModules(image, dir string) (string, error) {
	data, err := os.ReadFile(image)
	if err != nil {
		return "", err
	}
	b := bytes.NewBuffer(data)
	w := &cpio{w: b}
	files, err := filepath.Glob(filepath.Join(dir, "*.ko"))
	if err != nil {
		return "", err
	}
	w.add("tests/modules", fs.ModeDir|0o755, nil)
	for _, name := range files {
		module, err := os.ReadFile(name)
		if err != nil {
			return "", err
		}
		w.add("tests/modules/"+filepath.Base(name), 0o644, module)
	}
	w.add("TRAILER!!!", 0, nil)
	own := image + ".own"
	return own, errors.Join(w.err, os.WriteFile(own, b.Bytes(), 0o644))
}

// cpio writes the "newc" archive that the kernel unpacks (Documentation/driver-api/early-userspace/buffer-format.rst).
type cpio struct {
	w   io.Writer
	n   int
	ino int
	err error
}

func (c *cpio) add(name string, mode fs.FileMode, data []byte) {
	unix := uint32(mode.Perm())
	switch {
	case mode.IsDir():
		unix |= 0o040000
	case mode != 0:
		unix |= 0o100000
	}
	c.ino++
	c.write(fmt.Appendf(nil, "070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%s\x00",
		c.ino, unix, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name)+1, 0, name))
	c.write(data)
}

// write pads to four bytes.
func (c *cpio) write(b []byte) {
	if c.err == nil {
		_, c.err = c.w.Write(append(b, make([]byte, -(c.n+len(b))&3)...))
	}
	c.n += len(b) + -(c.n+len(b))&3
}

var (
	guestStatus = regexp.MustCompile(`GUEST status=(\d+)`)
	consoleJunk = regexp.MustCompile(`\r|\x1b\[[0-9;?]*[a-zA-Z]|\x1bc`)
)

// crashed is the status of a machine without one, and boots how often one is booted that crashes before its first test.
const (
	crashed = 125
	boots   = 3
)

// boot runs a machine and returns the status of its tests and what it printed; a machine that does not end, or whose kernel
// crashes, is of status crashed.
func boot(kernel, image string, o options) (status int, out string, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), o.limit)
	defer cancel()
	// One thread for all CPUs: with several, one may run what another is about to change in the kernel's code, and crash.
	c := exec.CommandContext(ctx, "qemu-system-x86_64", "-accel", "tcg,thread=single", "-cpu", "max", "-M", "pc", "-smp", "2",
		"-m", fmt.Sprint(o.memory), "-nodefaults", "-no-user-config", "-display", "none", "-serial", "stdio", "-no-reboot", "-net", "none",
		"-kernel", kernel, "-initrd", image, "-append", "console=ttyS0 panic=-1 oops=panic quiet")
	var b bytes.Buffer
	c.Stdout, c.Stderr = &b, &b
	err = c.Run()
	out = consoleJunk.ReplaceAllString(b.String(), "")
	if m := guestStatus.FindStringSubmatch(out); m != nil {
		fmt.Sscan(m[1], &status)
		return status, out, nil
	}
	if errors.Is(err, exec.ErrNotFound) {
		return 0, "", fmt.Errorf("boot: %w", err)
	}
	return crashed, out, nil
}
