package main

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/cilium/ebpf"
)

// Size is how large programs are.
type Size struct {
	Insns int // after the kernel's verifier has rewritten them
	Bytes int // of machine code
}

// programIDs lists the eBPF programs that a process ("self" or its number) has open, without doubles, in order.
func programIDs(pid string) ([]uint32, error) {
	dir := "/proc/" + pid + "/fdinfo/"
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("list programs: %w", err)
	}
	var ids []uint32
	for _, e := range entries {
		text, err := os.ReadFile(dir + e.Name())
		if err != nil || !strings.Contains(string(text), "prog_jited:") { // a link has a prog_id too
			continue
		}
		for line := range strings.Lines(string(text)) {
			var id uint32
			if n, _ := fmt.Sscanf(line, "prog_id: %d", &id); n == 1 {
				ids = append(ids, id)
			}
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids), nil
}

// without returns what of ids is not in known.
func without(ids, known []uint32) []uint32 {
	return slices.DeleteFunc(slices.Clone(ids), func(id uint32) bool { return slices.Contains(known, id) })
}

// sizeOf adds up the sizes of programs.
func sizeOf(ids []uint32) (s Size, err error) {
	for _, id := range ids {
		prog, err := ebpf.NewProgramFromID(ebpf.ProgramID(id))
		if err != nil {
			return s, fmt.Errorf("size of program %d: %w", id, err)
		}
		one, err := programSize(prog)
		prog.Close()
		if err != nil {
			return s, fmt.Errorf("size of program %d: %w", id, err)
		}
		s.Insns += one.Insns
		s.Bytes += one.Bytes
	}
	return s, nil
}

func programSize(prog *ebpf.Program) (s Size, err error) {
	info, err := prog.Info()
	if err != nil {
		return s, err
	}
	insns, err := info.Instructions()
	if err != nil {
		return s, err
	}
	for i := range insns {
		s.Insns += int(insns[i].Width())
	}
	bytes, err := info.JitedSize()
	if err != nil { // the JIT is off
		return s, nil
	}
	s.Bytes = int(bytes)
	return s, nil
}
