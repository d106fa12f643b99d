package bpf

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
)

// ProgFunc is a function of a BPF program in the kernel that other programs can attach to.
type ProgFunc struct {
	Name    string
	Program uint32 // the kernel's id of the program
	Type    uint32 // id of the function's type in the program's BTF
}

// ProgramFuncs lists the functions of the programs that were loaded with BTF, in the order they were loaded. A program
// that goes meanwhile is left out. The error is about programs that cannot be read; the functions of the others are there.
func ProgramFuncs() ([]ProgFunc, error) { return collectFuncs(ebpf.ProgramGetNextID, programFuncs) }

func collectFuncs(after func(ebpf.ProgramID) (ebpf.ProgramID, error), read func(ebpf.ProgramID) ([]ProgFunc, error)) ([]ProgFunc, error) {
	var out []ProgFunc
	var unread []error
	for id := ebpf.ProgramID(0); ; {
		next, err := after(id)
		if errors.Is(err, os.ErrNotExist) {
			return out, errors.Join(unread...)
		}
		if err != nil {
			return out, errors.Join(append(unread, fmt.Errorf("list programs: %w", err))...)
		}
		id = next
		funcs, err := read(id)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			unread = append(unread, fmt.Errorf("read program %d: %w", id, err))
		}
		out = append(out, funcs...)
	}
}

func programFuncs(id ebpf.ProgramID) ([]ProgFunc, error) {
	prog, err := ebpf.NewProgramFromID(id)
	if err != nil {
		return nil, err
	}
	defer prog.Close()
	info, err := prog.Info()
	if err != nil {
		return nil, err
	}
	blob, ok := info.BTFID()
	if !ok {
		return nil, nil
	}
	infos, err := info.FuncInfos()
	if errors.Is(err, ebpf.ErrNotSupported) || err == nil && len(infos) == 0 {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	handle, err := btf.NewHandleFromID(blob)
	if err != nil {
		return nil, err
	}
	defer handle.Close()
	spec, err := handle.Spec(nil)
	if err != nil {
		return nil, err
	}
	var out []ProgFunc
	for _, f := range infos {
		var fn *btf.Func
		if err := spec.TypeByName(f.Func.Name, &fn); err != nil {
			continue // several of the name
		}
		typ, err := spec.TypeID(fn)
		if err != nil {
			return nil, err
		}
		out = append(out, ProgFunc{Name: f.Func.Name, Program: uint32(id), Type: uint32(typ)})
	}
	return out, nil
}

// Doubtful tries whether the kernel lets no program follow a pointer that a raw tracepoint has as an argument, by the BTF id
// of its type, in a module or "". Since 6.12 it lets none where it knows that the pointer may be null (raw_tp_null_args in
// kernel/bpf/btf.c).
func Doubtful(module string, id uint32, arg int) bool {
	prog, err := Load(ProgSpec{Name: "trial", Type: ebpf.Tracing, AttachType: ebpf.AttachTraceRawTp, AttachBTFID: id, AttachMod: module, Insns: asm.Instructions{
		asm.LoadMem(asm.R1, asm.R1, int16(8*arg), asm.DWord), asm.LoadMem(asm.R1, asm.R1, 0, asm.Byte), asm.Mov.Imm(asm.R0, 0), asm.Return()}})
	if err == nil {
		prog.Close()
	}
	var v *VerifierError
	return errors.As(err, &v) && strings.Contains(v.Reason, "invalid mem access")
}
