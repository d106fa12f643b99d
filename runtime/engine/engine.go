// Package engine runs a compiled script: it creates the maps, loads and attaches the programs, drains the ring
// buffer, keeps the timers, and takes everything down again in an order that loses nothing.
//
// Life cycle: Load, then Run, which runs begin, attaches, waits until the script exits or the context ends, detaches,
// runs end and drains; then Snapshot and the other readers; then Close. begin, end and interval are programs that the
// engine runs itself (BPF_PROG_TEST_RUN), so they need no perf event. Nothing stays attached when Load or Run fails.
//
// The engine knows nothing of output formats: it hands events to an Events sink and maps to whoever asks.
// Start at Load and Run.
package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/slopebpf/slope/bpf"
	"github.com/slopebpf/slope/bpf/attach"
	"github.com/slopebpf/slope/compiler"
	"github.com/slopebpf/slope/compiler/ir"
	"github.com/slopebpf/slope/lang/source"
	"github.com/slopebpf/slope/lang/types"
)

// Options is what the engine needs besides the object.
type Options struct {
	Features *bpf.Features
	BTF      func(event string) (uint32, error) // the BTF id of a raw tracepoint's type
	Pid      int                                // uprobes are attached to this process only; 0 for all
	Progress func(done, total int)              // told while attaching; may be nil
}

// Engine is a loaded script. Its methods are for one goroutine, but for reading maps, which may go on beside Run.
type Engine struct {
	obj  *compiler.Object
	opt  Options
	maps map[*ir.Map]*ebpf.Map
	all  []*program
	ring *bpf.Ring

	mu      sync.Mutex       // guards links and running
	running bool             // programs may be attached
	closing sync.RWMutex     // readers hold it, so that Close waits for them
	zeroed  map[*ir.Map]bool // maps that zero() set: an unkeyed one then prints as 0
	handled atomic.Uint64    // records handed over
	damaged atomic.Uint64    // records that could not be decoded
	polls   polls
}

// program is one loaded function and what it is attached to.
type program struct {
	fn    *ir.Func
	code  int // index in obj.Code
	prog  *ebpf.Program
	links []attach.Link
}

// Load creates the maps and loads the programs. A refusal of the kernel's verifier is a source.Diagnostics.
func Load(obj *compiler.Object, opt Options) (*Engine, error) {
	e := &Engine{obj: obj, opt: opt, maps: map[*ir.Map]*ebpf.Map{}, zeroed: map[*ir.Map]bool{}}
	if err := e.load(); err != nil {
		e.Close()
		return nil, err
	}
	return e, nil
}

func (e *Engine) load() error {
	byName := map[string]*ebpf.Map{}
	for _, m := range e.obj.IR.Maps {
		if m.ValueSize == 0 && m.Kind != ir.RingBuf {
			continue // rodata that nothing uses
		}
		km, err := e.newMap(m)
		if err != nil {
			return err
		}
		e.maps[m], byName[m.Name] = km, km
	}
	for i, f := range e.obj.IR.Funcs {
		p := &program{fn: f, code: i}
		if err := e.loadProgram(p, byName); err != nil {
			return err
		}
		e.all = append(e.all, p)
	}
	if r := e.obj.IR.Ring; r != nil {
		ring, err := bpf.OpenRing(e.maps[r])
		if err != nil {
			return err
		}
		e.ring = ring
	}
	return nil
}

// newMap creates one map and stores its first value.
func (e *Engine) newMap(m *ir.Map) (*ebpf.Map, error) {
	types := [...]ebpf.MapType{ir.Hash: ebpf.Hash, ir.LRUHash: ebpf.LRUHash, ir.PerCPUHash: ebpf.PerCPUHash,
		ir.LRUPerCPUHash: ebpf.LRUCPUHash, ir.Array: ebpf.Array, ir.PerCPUArray: ebpf.PerCPUArray, ir.RingBuf: ebpf.RingBuf}
	km, err := bpf.NewMap(bpf.MapSpec{Name: m.Name, Type: types[m.Kind], KeySize: m.KeySize, ValueSize: m.ValueSize,
		MaxEntries: m.MaxEntries, NoPrealloc: m.NoPrealloc})
	if err != nil {
		return nil, err
	}
	if m.Init == nil {
		return km, nil
	}
	if err := km.Put(uint32(0), m.Init); err != nil {
		km.Close()
		return nil, fmt.Errorf("fill map %s: %w", m.Name, err)
	}
	return km, nil
}

func (e *Engine) loadProgram(p *program, maps map[string]*ebpf.Map) error {
	code := e.obj.Code[p.code]
	for i := range code.Insns {
		ins := &code.Insns[i]
		if !ins.IsLoadFromMap() {
			continue
		}
		m := maps[ins.Reference()]
		if m == nil {
			return fmt.Errorf("load %s: BUG: no map %q", p.fn.Name, ins.Reference())
		}
		if err := ins.AssociateMap(m); err != nil {
			return fmt.Errorf("load %s: %w", p.fn.Name, err)
		}
	}
	spec := bpf.ProgSpec{Name: p.fn.Name, Insns: code.Insns}
	switch p.fn.Type {
	case ir.RawTracepoint:
		spec.Type = ebpf.RawTracepoint
	case ir.TPBTF:
		spec.Type, spec.AttachType = ebpf.Tracing, ebpf.AttachTraceRawTp
		id, err := e.opt.BTF(p.fn.Hooks[0].Event)
		if err != nil {
			return err
		}
		spec.AttachBTFID = id
	case ir.Tracepoint:
		spec.Type = ebpf.TracePoint
	case ir.Uprobe:
		spec.Type = ebpf.Kprobe
		if e.opt.Features.UprobeMulti() == nil {
			spec.AttachType = attach.UprobeMultiType
		}
	case ir.PerfEvent:
		spec.Type = ebpf.PerfEvent
	}
	prog, err := bpf.Load(spec)
	if err != nil {
		return e.explainLoad(p, err)
	}
	p.prog = prog
	return nil
}

// explainLoad points a refusal at the place in the script.
func (e *Engine) explainLoad(p *program, err error) error {
	var v *bpf.VerifierError
	if !errors.As(err, &v) || v.Log == "" && v.Insn < 0 {
		return err
	}
	span := p.fn.Span
	if spans := e.obj.Code[p.code].Spans; v.Insn >= 0 && v.Insn < len(spans) && spans[v.Insn] != (source.Span{}) {
		span = spans[v.Insn]
	}
	var diags source.Diagnostics
	diags.Errorf(e.obj.IR.Source, span, "the kernel refused the program for %s: %s", p.fn.Hook, v.Reason).
		WithHint("this is a bug in slope; please report it with the script (run with -d asm and SLOPE_VERIFIER_LOG=1 for details)")
	if os.Getenv("SLOPE_VERIFIER_LOG") != "" {
		return fmt.Errorf("%w\n%s", diags, v.Log)
	}
	return diags
}

// attachAll attaches every program that the kernel calls. On an error, or when ctx ends, what was attached before is
// detached again.
func (e *Engine) attachAll(ctx context.Context) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	total, done := 0, 0
	for _, p := range e.all {
		if kernelCalled(p.fn) && p.fn.Burning < 0 {
			total += len(p.fn.Hooks)
		}
	}
	for i := len(e.all) - 1; i >= 0; i-- { // in reverse, so that programs fire in the script's order
		p := e.all[i]
		if !kernelCalled(p.fn) || p.fn.Burning >= 0 {
			continue
		}
		for h := range p.fn.Hooks {
			link, err := e.attach(p, &p.fn.Hooks[h])
			if err == nil && ctx.Err() != nil {
				p.links = append(p.links, link)
				err = ctx.Err()
			}
			if err != nil {
				e.detachLocked()
				return err
			}
			p.links = append(p.links, link)
			done++
			if e.opt.Progress != nil {
				e.opt.Progress(done, total)
			}
		}
	}
	e.running = true
	return nil
}

// kernelCalled tells whether the kernel runs the program, not the engine.
func kernelCalled(f *ir.Func) bool {
	switch f.Hooks[0].Kind {
	case types.HookBegin, types.HookEnd, types.HookInterval, types.HookPoll, types.HookAlert:
		return false
	}
	return true
}

func (e *Engine) attach(p *program, h *types.Hook) (attach.Link, error) {
	switch h.Kind {
	case types.HookRaw:
		if p.fn.Type == ir.TPBTF {
			return attach.Tracing(p.prog)
		}
		return attach.RawTracepoint(p.prog, h.Event)
	case types.HookTracepoint:
		link, err := attach.Tracepoint(p.prog, h.ID)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", h.Event, err)
		}
		return link, nil
	case types.HookProfile:
		return attach.CPUClock(p.prog, attach.Sampling{Period: uint64(h.Period)})
	case types.HookUprobe, types.HookUretprobe:
		points := make([]attach.Point, len(h.Points))
		for i, pt := range h.Points {
			points[i] = attach.Point{Offset: pt.Offset, RefCtr: pt.RefCtr}
		}
		return attach.Uprobe(p.prog, h.Path, points, e.opt.Pid, h.Kind == types.HookUretprobe)
	}
	panic(fmt.Sprintf("BUG: attach hook of kind %d", h.Kind))
}

// Detach takes every program off the kernel. It may be called more than once.
func (e *Engine) Detach() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.detachLocked()
}

func (e *Engine) detachLocked() error {
	e.running = false
	var wg sync.WaitGroup
	errs := make([]error, len(e.all))
	for i, p := range e.all {
		if len(p.links) == 0 {
			continue
		}
		wg.Add(1)
		go func() { // the kernel waits for each perf event; at least let them wait together
			defer wg.Done()
			for _, l := range p.links {
				errs[i] = errors.Join(errs[i], l.Close())
			}
			p.links = nil
		}()
	}
	wg.Wait()
	return errors.Join(errs...)
}

// Close detaches and frees everything.
func (e *Engine) Close() error {
	errs := []error{e.Detach()}
	e.closing.Lock()
	defer e.closing.Unlock()
	if e.ring != nil {
		errs = append(errs, e.ring.Close())
	}
	for _, p := range e.all {
		if p.prog != nil {
			errs = append(errs, p.prog.Close())
		}
	}
	for _, m := range e.maps {
		errs = append(errs, m.Close())
	}
	e.ring, e.all, e.maps = nil, nil, nil
	return errors.Join(errs...)
}

// run runs the engine's own programs of a kind once, in the script's order.
func (e *Engine) run(kind types.HookKind) error {
	for _, p := range e.all {
		if p.fn.Hooks[0].Kind != kind {
			continue
		}
		if _, err := bpf.TestRun(p.prog, nil, -1); err != nil {
			return fmt.Errorf("run %s: %w", p.fn.Name, err)
		}
	}
	return nil
}

// setStart tells the script when it started.
func (e *Engine) setStart() error {
	for m, km := range e.maps {
		if m.Name != "globals" {
			continue
		}
		var ts unix.Timespec
		if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
			return fmt.Errorf("read boot clock: %w", err)
		}
		value := make([]uint64, ir.NumGlobals)
		value[ir.GlobalStart] = uint64(ts.Nano())
		raw := make([]byte, 0, 8*len(value))
		for _, v := range value {
			raw = le.AppendUint64(raw, v)
		}
		if err := km.Put(uint32(0), raw); err != nil {
			return fmt.Errorf("set globals: %w", err)
		}
	}
	return nil
}
