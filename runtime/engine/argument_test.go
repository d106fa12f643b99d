package engine_test

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"

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

// TestFollowArguments loads a script for every raw tracepoint that follows each of its pointers: the kernel knows of some
// that they may be null.
func TestFollowArguments(t *testing.T) {
	feat := &bpf.Features{}
	bpftest.Require(t, feat.TestRun(), feat.RingBuf(), feat.TPBTF())
	reg := stdlib.New()
	machine := &stdlib.Machine{Registry: reg}
	defer machine.Close()
	ix, err := machine.BTF()
	if err != nil {
		t.Fatal(err)
	}
	followed, copied := 0, 0
	opt := compiler.Options{Universe: reg, Library: reg, Resolver: machine, Config: types.DefaultConfig(), Kernel: machine.Kernel(feat),
		Backend: backend.Features{AtomicFetch: feat.AtomicFetch() == nil}, CPUs: runtime.NumCPU()}
	try := opt.Kernel.Doubtful
	opt.Kernel.Doubtful = func(h *types.Hook, arg int) bool {
		d := try(h, arg)
		if d {
			copied++
		}
		return d
	}
	load := func(script string) error {
		obj, diags := compiler.Compile(source.NewFile("f.slo", script), opt)
		if diags.HasErrors() {
			return diags
		}
		e, err := engine.Load(obj, engine.Options{Features: feat, BTF: ix.RawTracepoint})
		if err != nil {
			return err
		}
		return e.Close()
	}
	var clauses []string
	ix.EachRawTracepoint(func(event string, _ uint32, args func() types.Fields) bool {
		body := ""
		for i, a := range args() {
			if field := number(a.Type); field != "" {
				body += fmt.Sprintf("@a%d = (uint64)args.%s.%s; ", i, a.Name, field)
				followed++
			}
		}
		if body != "" {
			clauses = append(clauses, "rawtracepoint:"+event+" { "+body+"}")
		}
		return true
	})
	for some := range slices.Chunk(clauses, 50) { // most of the time of a script goes into its maps
		err := load(strings.Join(some, "\n"))
		if errors.Is(err, unix.EPERM) {
			t.Skip(err)
		}
		for _, clause := range some {
			if err == nil {
				break
			}
			if err := load(clause); err != nil {
				t.Errorf("%s: %v", clause, err)
			}
		}
	}
	t.Logf("followed %d pointers, copied %d that may be null", followed, copied)
	if followed < 100 {
		t.Errorf("followed only %d pointers", followed)
	}
}

// number is a field of the struct that a type points to which is a number, "" without.
func number(t *types.Type) string {
	if t.Kind != types.Pointer || t.Elem.Kind != types.Struct || t.User {
		return ""
	}
	for _, f := range t.Elem.Layout.Fields() {
		if f.Type.Kind == types.Int && f.BitSize == 0 && f.Offset == 0 {
			return f.Name
		}
	}
	for _, f := range t.Elem.Layout.Fields() {
		if f.Type.Kind == types.Int && f.BitSize == 0 {
			return f.Name
		}
	}
	return ""
}
