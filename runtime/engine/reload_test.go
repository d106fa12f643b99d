package engine

import (
	"runtime"
	"sync"
	"testing"

	"github.com/slopebpf/slope/bpf"
	"github.com/slopebpf/slope/bpf/bpftest"
	"github.com/slopebpf/slope/compiler"
	"github.com/slopebpf/slope/compiler/backend"
	"github.com/slopebpf/slope/lang/source"
	"github.com/slopebpf/slope/lang/types"
	"github.com/slopebpf/slope/stdlib"
)

// TestReload reads the statistics of a program while it is loaded again and again. With -race it tells more.
func TestReload(t *testing.T) {
	feat := &bpf.Features{}
	bpftest.Require(t, feat.TestRun(), feat.RingBuf())
	reg := stdlib.New()
	machine := &stdlib.Machine{Registry: reg}
	defer machine.Close()
	obj, diags := compiler.Compile(source.NewFile("f.slo", "interval:s:1 { @ = count(); }"), compiler.Options{Universe: reg, Library: reg, Resolver: machine,
		Config: types.DefaultConfig(), Kernel: machine.Kernel(feat), Backend: backend.Features{AtomicFetch: feat.AtomicFetch() == nil}, CPUs: runtime.NumCPU()})
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	e, err := Load(obj, Options{Features: feat})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	done := make(chan struct{})
	var reader sync.WaitGroup
	reader.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
			}
			if _, err := e.Programs(); err != nil {
				t.Error(err)
				return
			}
		}
	})
	for range 200 {
		if err := e.reload(e.all[0]); err != nil {
			t.Error(err)
		}
	}
	close(done)
	reader.Wait()
}
