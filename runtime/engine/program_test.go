package engine_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
	"golang.org/x/sys/unix"

	"github.com/slopebpf/slope/bpf"
	"github.com/slopebpf/slope/bpf/bpftest"
	"github.com/slopebpf/slope/compiler"
	"github.com/slopebpf/slope/compiler/backend"
	"github.com/slopebpf/slope/lang/source"
	"github.com/slopebpf/slope/lang/types"
	"github.com/slopebpf/slope/runtime/engine"
	"github.com/slopebpf/slope/stdlib"
)

// TestPrograms counts the runs of another BPF program.
func TestPrograms(t *testing.T) {
	feat := &bpf.Features{}
	bpftest.Require(t, feat.TestRun(), feat.RingBuf())
	skb := &btf.Pointer{Target: &btf.Struct{Name: "__sk_buff", Size: 4, Members: []btf.Member{{Name: "len", Type: &btf.Int{Name: "u32", Size: 4}}}}}
	fn := &btf.Func{Name: "seen_program", Linkage: btf.GlobalFunc, Type: &btf.FuncProto{Return: &btf.Int{Name: "int", Size: 4, Encoding: btf.Signed},
		Params: []btf.FuncParam{{Name: "skb", Type: skb}}}}
	seen, err := ebpf.NewProgram(&ebpf.ProgramSpec{Name: "seen_program", Type: ebpf.SocketFilter, License: "GPL",
		Instructions: asm.Instructions{btf.WithFuncMetadata(asm.Mov.Imm(asm.R0, 0).WithSymbol("seen_program"), fn), asm.Return()}})
	if err != nil {
		t.Fatal(err)
	}
	defer seen.Close()
	info, err := seen.Info()
	if err != nil {
		t.Fatal(err)
	}
	id, _ := info.ID()
	for _, script := range []string{"fentry:bpf:seen_program { @n = count(); }", "fexit:bpf:seen_* { @n = count(); }", fmt.Sprintf("fentry:bpf:%d:seen_program { @n = count(); }", id)} {
		t.Run(script, func(t *testing.T) {
			reg := stdlib.New()
			machine := &stdlib.Machine{Registry: reg}
			defer machine.Close()
			obj, diags := compiler.Compile(source.NewFile("f.slo", script), compiler.Options{Universe: reg, Library: reg, Resolver: machine,
				Config: types.DefaultConfig(), Kernel: machine.Kernel(feat), Backend: backend.Features{AtomicFetch: feat.AtomicFetch() == nil}, CPUs: runtime.NumCPU()})
			if diags.HasErrors() {
				t.Fatal(diags)
			}
			e, err := engine.Load(obj, engine.Options{Features: feat})
			if errors.Is(err, unix.EPERM) || errors.Is(err, bpf.ErrNotSupported) {
				t.Skip(err) // not on every host; the kernel matrix has them
			}
			if err != nil {
				t.Fatal(err)
			}
			defer e.Close()
			const runs = 20
			ctx, cancel := context.WithCancel(context.Background())
			attached := func() {
				for range runs {
					if _, err := seen.Run(&ebpf.RunOptions{Data: make([]byte, 64)}); err != nil {
						t.Error(err)
					}
				}
				cancel()
			}
			if err := e.Run(ctx, engine.Hooks{Events: &records{}, Exited: func() bool { return false }, Attached: attached, Stay: true}); err != nil {
				t.Fatal(err)
			}
			if rows := counted(t, e, obj, "@n").Rows; len(rows) != 1 || rows[0].Words[0] != runs {
				t.Errorf("%v, want %d", rows, runs)
			}
		})
	}
}
