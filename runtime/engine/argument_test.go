package engine_test

import (
	"errors"
	"fmt"
	"runtime"
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
	ix.EachRawTracepoint(func(event string, _ uint32, args func() types.Fields) bool {
		body := ""
		for i, a := range args() {
			if field := number(a.Type); field != "" {
				body += fmt.Sprintf("@a%d = args.%s.%s; ", i, a.Name, field)
				followed++
			}
		}
		if body == "" {
			return true
		}
		script := "rawtracepoint:" + event + " { " + body + "}"
		obj, diags := compiler.Compile(source.NewFile("f.slo", script), opt)
		if diags.HasErrors() {
			t.Errorf("%s: %v", script, diags)
			return true
		}
		e, err := engine.Load(obj, engine.Options{Features: feat, BTF: ix.RawTracepoint})
		if errors.Is(err, unix.EPERM) {
			t.Skip(err)
		}
		if err != nil {
			t.Errorf("%s: %v", script, err)
			return true
		}
		return e.Close() == nil
	})
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
