package main

import (
	"embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/cilium/ebpf"

	"github.com/slopebpf/slope/bpf/attach"
)

//go:embed c
var sources embed.FS

// compileC compiles and loads c/programs.c; it returns nil without clang.
func compileC() (*ebpf.Collection, error) {
	clang, err := exec.LookPath("clang")
	if err != nil {
		return nil, nil
	}
	dir, err := os.MkdirTemp("", "bench")
	if err != nil {
		return nil, fmt.Errorf("compile C: %w", err)
	}
	defer os.RemoveAll(dir)
	if err := os.CopyFS(dir, sources); err != nil {
		return nil, fmt.Errorf("compile C: %w", err)
	}
	object := filepath.Join(dir, "programs.o")
	cmd := exec.Command(clang, "-O2", "-g", "-Wall", "-Werror", "-mcpu=v3", "-target", "bpf", "-c", filepath.Join(dir, "c", "programs.c"), "-o", object)
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("compile C: %w\n%s", err, out)
	}
	spec, err := ebpf.LoadCollectionSpec(object)
	if err != nil {
		return nil, fmt.Errorf("load C: %w", err)
	}
	coll, err := ebpf.NewCollection(spec)
	if err != nil {
		return nil, fmt.Errorf("load C: %+w", err)
	}
	return coll, nil
}

// compiled is a function of c/programs.c.
type compiled struct{ prog *ebpf.Program }

func (c compiled) attached(f func() error) error {
	link, err := attach.Tracing(c.prog, "tp_btf")
	if err != nil {
		return err
	}
	if err := f(); err != nil {
		link.Close()
		return err
	}
	return link.Close()
}

func (c compiled) size() (Size, error) { return programSize(c.prog) }
