package engine_test

import (
	"context"
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

// BenchmarkSwitch is a system call without a probe, with one, and with one that can be replaced.
func BenchmarkSwitch(b *testing.B) {
	feat := &bpf.Features{}
	bpftest.Require(b, feat.TestRun())
	call := func(b *testing.B) {
		for b.Loop() {
			unix.RawSyscall(unix.SYS_GETPRIORITY, 0, 0, 0)
		}
	}
	b.Run("none", call)
	for _, name := range []string{"direct", "switched", "direct again", "switched again"} { // whichever is first is the fastest
		reg := stdlib.New()
		machine := &stdlib.Machine{Registry: reg}
		obj, diags := compiler.Compile(source.NewFile("b.slo", "tracepoint:syscalls:sys_enter_getpriority { @ = count(); }"), compiler.Options{Universe: reg,
			Library: reg, Resolver: machine, Config: types.DefaultConfig(), Kernel: machine.Kernel(feat), Backend: backend.Features{}})
		if diags.HasErrors() {
			b.Fatal(diags)
		}
		opt := engine.Options{Features: feat, BTF: func(event string) (uint32, error) {
			ix, err := machine.BTF()
			if err != nil {
				return 0, err
			}
			return ix.RawTracepoint(event)
		}}
		if strings.HasPrefix(name, "switched") {
			var err error
			if opt.Switch, err = engine.NewSwitch(); err != nil {
				b.Fatal(err)
			}
			defer opt.Switch.Close()
		}
		e, err := engine.Load(obj, opt)
		if err != nil {
			b.Fatal(err)
		}
		machine.Close()
		ctx, stop := context.WithCancel(context.Background())
		attached, ended := make(chan struct{}), make(chan error, 1)
		go func() {
			ended <- e.Run(ctx, engine.Hooks{Exited: func() bool { return false }, Attached: func() { close(attached) }, Stay: true})
		}()
		<-attached
		b.Run(name, call)
		stop()
		if err := <-ended; err != nil {
			b.Fatal(err)
		}
		if err := e.Close(); err != nil {
			b.Fatal(err)
		}
	}
}
