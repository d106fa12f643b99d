package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/slopebpf/slope/bpf"
	"github.com/slopebpf/slope/bpf/btf"
	"github.com/slopebpf/slope/compiler"
	"github.com/slopebpf/slope/compiler/backend"
	"github.com/slopebpf/slope/lang/source"
	"github.com/slopebpf/slope/lang/types"
	"github.com/slopebpf/slope/runtime/engine"
	"github.com/slopebpf/slope/stdlib"
)

// kernel is the running kernel, as slope sees it, with a trigger for each kind of values.
type kernel struct {
	features bpf.Features
	machine  stdlib.Machine
	index    *btf.Index
	compile  compiler.Options
	triggers [numValues]*trigger
}

func openKernel() (k *kernel, err error) {
	registry := stdlib.New()
	k = &kernel{machine: stdlib.Machine{Registry: registry}}
	defer func() {
		if err != nil {
			k.Close()
		}
	}()
	if err := bpf.CheckPrivileges(); err != nil {
		return k, err
	}
	if k.index, err = k.machine.BTF(); err != nil {
		return k, err
	}
	cpus, err := bpf.PossibleCPUs()
	if err != nil {
		return k, err
	}
	f := &k.features
	k.compile = compiler.Options{Universe: registry, Library: registry, Resolver: &k.machine, Config: types.DefaultConfig(), CPUs: cpus,
		Kernel: k.machine.Kernel(f),
		// Of the instruction set, one feature tells the others: they came with the same version of it.
		Backend: backend.Features{SDiv: f.SDiv() == nil, MovSX: f.SDiv() == nil, LongJumps: f.SDiv() == nil, AtomicFetch: f.AtomicFetch() == nil}}
	for v := range k.triggers {
		if k.triggers[v], err = newTrigger(k.index, values(v)); err != nil {
			return k, err
		}
	}
	return k, nil
}

func (k *kernel) Close() error {
	var errs []error
	for _, t := range k.triggers {
		if t != nil {
			errs = append(errs, t.prog.Close())
		}
	}
	return errors.Join(append(errs, k.machine.Close())...)
}

// script is a script that slope has compiled and loaded.
type script struct {
	engine *engine.Engine
	ids    []uint32 // of its programs
}

// load compiles a script and loads it by the engine, as the slope command does.
func (k *kernel) load(text string) (*script, error) {
	obj, diags := compiler.Compile(source.NewFile("bench.slope", text), k.compile)
	if diags.HasErrors() {
		return nil, fmt.Errorf("compile %q: %w", text, diags)
	}
	before, err := programIDs("self")
	if err != nil {
		return nil, err
	}
	e, err := engine.Load(obj, engine.Options{Features: &k.features, BTF: k.index.RawTracepoint})
	if err != nil {
		return nil, fmt.Errorf("load %q: %w", text, err)
	}
	ids, err := programIDs("self")
	if err != nil {
		e.Close()
		return nil, err
	}
	return &script{engine: e, ids: without(ids, before)}, nil
}

// attached calls f while the script is attached. f runs on the caller's thread.
func (s *script) attached(f func() error) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var failure error
	err := s.engine.Run(ctx, engine.Hooks{Exited: func() bool { return false }, Attached: func() {
		failure = f()
		cancel()
	}})
	return errors.Join(failure, err)
}

func (s *script) size() (Size, error) { return sizeOf(s.ids) }
func (s *script) Close() error        { return s.engine.Close() }

// release is the kernel's version.
func release() string {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return "unknown"
	}
	return strings.TrimRight(string(u.Release[:]), "\x00")
}
