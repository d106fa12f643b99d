package cli

import (
	"fmt"
	"io"
	"strings"
	"sync"

	"github.com/slopebpf/slope/compiler/ir"
	"github.com/slopebpf/slope/lang/types"
	"github.com/slopebpf/slope/runtime/engine"
	"github.com/slopebpf/slope/runtime/export"
	"github.com/slopebpf/slope/runtime/symbols"
)

// stackReader finds the calls of recorded stacks. Symbols are read when the first stack is printed.
type stackReader struct {
	eng       *engine.Engine
	diag      io.Writer // for warnings
	mu        sync.Mutex
	kernel    *symbols.Kernel
	opened    bool
	processes symbols.Processes
	program   string // of which all processes are that are probed, "" where there may be others
}

// onlyProgram is the one program that a script probes, "" where it probes anything else.
func onlyProgram(funcs []*ir.Func) string {
	program := ""
	for _, f := range funcs {
		for _, h := range f.Hooks {
			switch h.Kind {
			case types.HookBegin, types.HookEnd, types.HookInterval:
			case types.HookUprobe, types.HookUretprobe:
				if program != "" && program != h.Path {
					return ""
				}
				program = h.Path
			default:
				return ""
			}
		}
	}
	return program
}

// userSymbol finds the function of a process at an address. One that is gone is taken for the only program that is probed.
func (s *stackReader) userSymbol(pid int, addr uint64) (name string, offset uint64, path string) {
	name, offset, path, known := s.processes.Lookup(pid, addr)
	if !known && s.program != "" {
		if name, offset, known = s.processes.Fixed(pid, s.program, addr); known {
			path = s.program
		}
	}
	return name, offset, path
}

// frames implements export.Stacks.
func (s *stackReader) frames(t *types.Type, id, pid uint64) []export.Frame {
	s.mu.Lock()
	defer s.mu.Unlock()
	addrs := s.eng.Stack(t.Kept(), id)
	out := make([]export.Frame, 0, len(addrs))
	for _, addr := range addrs {
		f := export.Frame{Addr: addr}
		switch {
		case t.User && t.Mode == "build_id":
			f.Build, f.Place = s.processes.File(int(pid), addr)
		case t.User:
			f.Name, f.Offset, f.Path = s.userSymbol(int(pid), addr)
		case s.kernelSymbols() != nil:
			f.Name, f.Offset, _ = s.kernel.Lookup(addr)
		}
		out = append(out, f)
	}
	if !t.User {
		out = withoutTracer(out)
	}
	return out[:min(len(out), t.Len)]
}

func (s *stackReader) kernelSymbols() *symbols.Kernel {
	if !s.opened {
		s.opened = true
		var err error
		if s.kernel, err = symbols.OpenKernel(); err != nil {
			fmt.Fprintf(s.diag, "WARNING: functions of the kernel are printed as addresses: %s\n", err)
		}
	}
	return s.kernel
}

// withoutTracer drops the innermost calls, which are those that run the program itself.
func withoutTracer(frames []export.Frame) []export.Frame {
	for n := len(frames) - 1; n >= 0; n-- {
		for _, prefix := range []string{"bpf_prog_", "bpf_trace_run", "__traceiter_", "__bpf_trace_", "bpf_trampoline_", "trace_call_bpf", "perf_trace_run_bpf_submit"} {
			if strings.HasPrefix(frames[n].Name, prefix) {
				return frames[n+1:]
			}
		}
	}
	return frames
}

// Note implements events.Host.
func (r *session) Note(pid int) {
	r.eng.Noted(pid)
	r.noteProcess(pid)
}

// meet looks at a process before its code is met.
func (r *session) meet(pid int) {
	r.eng.Follow(pid)
	r.noteProcess(pid)
}

func (r *session) noteProcess(pid int) {
	r.stacks.mu.Lock()
	defer r.stacks.mu.Unlock()
	r.stacks.processes.Note(pid)
}
