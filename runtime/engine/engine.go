// Package engine runs a compiled script: it creates the maps, loads and attaches the programs, drains the ring
// buffer, keeps the timers, and takes everything down again in an order that loses nothing.
//
// Life cycle: Load, then Run, which runs begin, attaches, waits until the script exits or the context ends, detaches,
// runs end and drains; then Snapshot and the other readers; then Close. begin, end and interval are programs that the
// engine runs itself (BPF_PROG_TEST_RUN), so they need no perf event. Nothing stays attached when Load or Run fails.
//
// A script that may be replaced while it runs has an Engine for each generation of its text, and a Switch that all share:
// see there. Load then takes over the maps that are the same (inherit.go), Prepare attaches beside the old generation,
// and the old one's Run hands over when Hooks.Next names the new one.
//
// The engine knows nothing of output formats: it hands events to an Events sink and maps to whoever asks.
// Start at Load and Run.
package engine

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/slopebpf/slope/bpf"
	"github.com/slopebpf/slope/bpf/attach"
	"github.com/slopebpf/slope/compiler"
	"github.com/slopebpf/slope/compiler/ir"
	"github.com/slopebpf/slope/lang/source"
	"github.com/slopebpf/slope/lang/types"
	"github.com/slopebpf/slope/runtime/unwind"
)

// Options is what the engine needs besides the object.
type Options struct {
	Features *bpf.Features
	BTF      func(event string) (uint32, error) // the BTF id of a raw tracepoint's type
	Pid      int                                // uprobes are attached to this process only; 0 for all
	Progress func(done, total int)              // told while attaching; may be nil
	Verbose  func(line string)                  // told how and how fast everything is attached and detached; may be nil
	Warn     func(d source.Diagnostics)         // told what the script goes on without, where it is to be told; may be nil
	Kprobe   Way                                // how functions of the kernel are probed
	Uprobe   Way                                // how functions of programs are probed
	Switch   *Switch                            // attach through it; nil for a script that is not replaced
	DryRun   bool                               // leave nothing behind: an iterator is pinned to no file
	Previous *Engine                            // the generation to take over from, attached by the same Switch; nil for none
}

// Way says whether links are used that attach to many places at once.
type Way uint8

// The ways.
const (
	BestWay    Way = iota // where it is of use and the kernel has them
	SingleWay             // never
	MultiWay              // always
	SessionWay            // always, and one program for the entry and the return of a function
)

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
	zeroing sync.Mutex       // guards zeroed
	zeroed  map[*ir.Map]bool // maps that zero() set: an unkeyed one then prints as 0
	handled atomic.Uint64    // records handed over
	damaged atomic.Uint64    // records that could not be decoded
	polls   polls
	tables  *unwind.Tables // of what unwinds stacks; nil without

	needs     map[*ir.Func][]string // see Part
	side      int                   // of the Switch
	inherited map[string]bool       // maps that the generation before had already
	prepared  bool
	refusals  []refusal      // of these, what is not told yet
	signals   chan os.Signal // for the programs on signals; nil without
	nudged    chan struct{}
	successor *Engine
}

// program is one loaded function and what it is attached to.
type program struct {
	fn      *ir.Func
	code    int          // index in obj.Code
	spec    bpf.ProgSpec // without its code
	maps    map[string]*ebpf.Map
	single  bool         // loaded for one function of the kernel at a time
	burning string       // the objective that gates it
	missing atomic.Int64 // probes of the script that the kernel refuses

	mu    sync.Mutex    // guards what follows; programs and links change under that of the engine too
	prog  *ebpf.Program // nil where the kernel refuses its place and the script goes on without
	links []attach.Link
	hooks []*types.Hook // of the links
	over  []attach.Link // stopped, and to be closed
	held  bool          // by Hold
	past  ProgramStats  // of links and dispatchers that it was at, once it is not any more
}

// Load creates the maps and loads the programs. A refusal of the kernel's verifier is a source.Diagnostics.
func Load(obj *compiler.Object, opt Options) (*Engine, error) {
	e := &Engine{obj: obj, opt: opt, maps: map[*ir.Map]*ebpf.Map{}, zeroed: map[*ir.Map]bool{}, inherited: map[string]bool{},
		nudged: make(chan struct{}, 1)}
	if err := e.load(); err != nil {
		e.Close()
		return nil, err
	}
	return e, nil
}

// View is an engine that has only the maps of a script, which another process loaded: their descriptors by name, which are the
// engine's from here on. It reads what they hold.
func View(obj *compiler.Object, maps map[string]int) (*Engine, error) {
	e := &Engine{obj: obj, maps: map[*ir.Map]*ebpf.Map{}, zeroed: map[*ir.Map]bool{}}
	for _, m := range obj.IR.Maps {
		fd, ok := maps[m.Name]
		if !ok {
			continue
		}
		km, err := ebpf.NewMapFromFD(fd)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("open map %s: %w", m.Name, err), e.Close())
		}
		e.maps[m] = km
	}
	return e, nil
}

// Maps are the descriptors of the kernel's maps by name: what View takes, once they are another process's.
func (e *Engine) Maps() map[string]int {
	out := map[string]int{}
	for m, km := range e.maps {
		if m.Kind != ir.RingBuf {
			out[m.Name] = km.FD()
		}
	}
	return out
}

func (e *Engine) load() error {
	if err := e.bounded(); err != nil {
		return err
	}
	byName := map[string]*ebpf.Map{}
	before, heirs := e.opt.Previous, map[*ir.Map]*ir.Map(nil)
	if before != nil {
		e.side = bpf.Sides - 1 - before.side
		heirs = e.heirs(before)
	}
	for _, m := range e.obj.IR.Maps {
		if m.ValueSize == 0 && m.Kind != ir.RingBuf {
			continue // rodata that nothing uses
		}
		var km *ebpf.Map
		var err error
		if o := heirs[m]; o != nil {
			km, err = before.clone(o)
			e.inherited[m.Name] = true
		} else {
			km, err = e.newMap(m)
		}
		if err != nil {
			return err
		}
		e.maps[m], byName[m.Name] = km, km
	}
	for i, f := range e.obj.IR.Funcs {
		p := &program{fn: f, code: i, burning: burningName(e, f), maps: byName, single: !e.many(f)}
		if err := e.loadProgram(p); err != nil {
			return err
		}
		e.all = append(e.all, p)
	}
	if slices.ContainsFunc(e.all, func(p *program) bool { return p.fn.Hooks[0].Kind == types.HookSignal }) {
		e.signals = make(chan os.Signal, 16)
		signal.Notify(e.signals, unix.SIGUSR1)
	}
	e.needs = e.indicatorsOf()
	if r := e.obj.IR.Ring; r != nil {
		ring, err := bpf.OpenRing(e.maps[r])
		if err != nil {
			return err
		}
		e.ring = ring
	}
	return e.openTables()
}

// newMap creates one map and stores its first value.
func (e *Engine) newMap(m *ir.Map) (*ebpf.Map, error) {
	types := [...]ebpf.MapType{ir.Hash: ebpf.Hash, ir.LRUHash: ebpf.LRUHash, ir.PerCPUHash: ebpf.PerCPUHash,
		ir.LRUPerCPUHash: ebpf.LRUCPUHash, ir.Array: ebpf.Array, ir.PerCPUArray: ebpf.PerCPUArray, ir.RingBuf: ebpf.RingBuf}
	km, err := bpf.NewMap(bpf.MapSpec{Name: m.Name, Type: types[m.Kind], KeySize: m.KeySize, ValueSize: m.ValueSize,
		MaxEntries: m.MaxEntries, NoPrealloc: m.NoPrealloc, Mapped: m.Mapped})
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

func (e *Engine) loadProgram(p *program) error {
	code := e.obj.Code[p.code]
	for i := range code.Insns {
		ins := &code.Insns[i]
		if !ins.IsLoadFromMap() || ins.Map() != nil { // as when it is loaded once more
			continue
		}
		m := p.maps[ins.Reference()]
		if m == nil {
			return fmt.Errorf("load %s: BUG: no map %q", p.fn.Name, ins.Reference())
		}
		if err := ins.AssociateMap(m); err != nil {
			return fmt.Errorf("load %s: %w", p.fn.Name, err)
		}
	}
	spec, err := e.spec(p)
	if err != nil {
		return err
	}
	p.spec = spec
	spec.Insns = code.Insns
	prog, err := bpf.Load(spec)
	if err != nil {
		return e.explainLoad(p, err)
	}
	p.mu.Lock()
	p.prog = prog
	p.mu.Unlock()
	return nil
}

// spec is how the kernel wants a function loaded.
func (e *Engine) spec(p *program) (bpf.ProgSpec, error) {
	f := p.fn
	spec := bpf.ProgSpec{Name: f.Name}
	switch f.Type {
	case ir.RawTracepoint:
		spec.Type = ebpf.RawTracepoint
	case ir.TPBTF:
		spec.Type, spec.AttachType = ebpf.Tracing, ebpf.AttachTraceRawTp
		switch h := &f.Hooks[0]; h.Kind {
		case types.HookFentry, types.HookFexit:
			spec.AttachType, spec.AttachBTFID, spec.AttachProg = ebpf.AttachTraceFEntry, uint32(h.ID), h.Prog
			spec.AttachMod, _ = inModule(h.Event)
			if h.Kind == types.HookFexit {
				spec.AttachType = ebpf.AttachTraceFExit
			}
			return spec, nil
		case types.HookIter:
			spec.AttachType, spec.AttachBTFID = attach.TraceIterType, uint32(h.ID)
			return spec, nil
		}
		var event string
		if spec.AttachMod, event = inModule(f.Hooks[0].Event); spec.AttachMod != "" {
			spec.AttachBTFID = uint32(f.Hooks[0].ID)
			return spec, nil
		}
		id, err := e.opt.BTF(event)
		if err != nil {
			return spec, err
		}
		spec.AttachBTFID = id
	case ir.Tracepoint:
		spec.Type = ebpf.TracePoint
	case ir.Uprobe:
		spec.Type = ebpf.Kprobe
		switch h := &f.Hooks[0]; {
		case h.Session && h.Kind == types.HookUprobe:
			spec.AttachType = attach.UprobeSessionType
			return spec, e.opt.Features.UprobeSession()
		case h.Session:
			spec.AttachType = attach.KprobeSessionType
			return spec, e.opt.Features.KprobeSession()
		case p.single:
		case h.Kind == types.HookUprobe, h.Kind == types.HookUretprobe:
			spec.AttachType = attach.UprobeMultiType
			return spec, wanted(e.opt.Uprobe, e.opt.Features.UprobeMulti)
		default:
			spec.AttachType = attach.KprobeMultiType
			return spec, wanted(e.opt.Kprobe, e.opt.Features.KprobeMulti)
		}
	case ir.PerfEvent:
		spec.Type = ebpf.PerfEvent
	}
	return spec, nil
}

// inModule parts what a hook is on into the module of the kernel, "" for none, and its name.
func inModule(event string) (module, name string) {
	if module, name, ok := strings.Cut(event, ":"); ok {
		return module, name
	}
	return "", event
}

// explainLoad points a refusal at the place in the script. It is nil where the script goes on without the program.
func (e *Engine) explainLoad(p *program, err error) error {
	var v *bpf.VerifierError
	if h := &p.fn.Hooks[0]; errors.As(err, &v) && v.Always && trampoline(h) && !errors.Is(err, bpf.ErrPrivilege) {
		return e.without(p, refusedBy(p, h, err), len(p.fn.Hooks))
	}
	if v == nil || v.Log == "" && v.Insn < 0 {
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

// kernelCalled tells whether the kernel runs the program, not the engine.
func kernelCalled(f *ir.Func) bool {
	switch f.Hooks[0].Kind {
	case types.HookBegin, types.HookEnd, types.HookInterval, types.HookSignal, types.HookPoll, types.HookAlert, types.HookTest, types.HookBench:
		return false
	}
	return true
}

// burning are the objectives whose gated programs are attached.
func (e *Engine) burning() map[string]bool {
	out := map[string]bool{}
	if e == nil {
		return out
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, p := range e.all {
		if p.burning != "" && len(p.links) > 0 {
			out[p.burning] = true
		}
	}
	return out
}

// Detach takes every program off the kernel. It may be called more than once.
func (e *Engine) Detach() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.detachLocked()
}

func (e *Engine) detachLocked() error {
	e.running = false
	if e.opt.Verbose != nil {
		n, began := 0, time.Now()
		for _, p := range e.all {
			n += len(p.links)
		}
		if n > 0 {
			defer func() { e.opt.Verbose(fmt.Sprintf("detached %d links in %s", n, short(time.Since(began)))) }()
		}
	}
	var wg sync.WaitGroup
	errs := make([]error, len(e.all))
	for i, p := range e.all {
		if len(p.links) == 0 {
			continue
		}
		wg.Add(1)
		go func() { // the kernel waits for each perf event; at least let them wait together
			defer wg.Done()
			errs[i] = p.stop()
		}()
	}
	wg.Wait()
	return errors.Join(errs...)
}

// detach takes a program off all of its hooks, and frees them.
func (p *program) detach() error { return errors.Join(p.stop(), p.free()) }

// free closes the links that were stopped.
func (p *program) free() (err error) {
	for _, l := range p.over {
		err = errors.Join(err, l.Close())
	}
	p.over = nil
	return err
}

// free closes what Detach has left to be closed, which is perf events: the kernel takes its time for each.
func (e *Engine) free() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	n, began := 0, time.Now()
	var errs []error
	for _, p := range e.all {
		n += len(p.over)
		errs = append(errs, p.free())
	}
	if took := time.Since(began); took > time.Second {
		e.tell("freed %d links in %s", n, short(took))
	}
	return errors.Join(errs...)
}

// stop takes a program off all of its hooks.
func (p *program) stop() error { return p.takeOff(func(*types.Hook) bool { return true }) }

// takeOff takes a program off some of its hooks.
func (p *program) takeOff(which func(*types.Hook) bool) error {
	p.mu.Lock()
	var gone, links []attach.Link
	var hooks []*types.Hook
	var lost uint64 // by links that are gone; what they lose until they have stopped comes to it below
	for i, l := range p.links {
		if !which(p.hooks[i]) {
			links, hooks = append(links, l), append(hooks, p.hooks[i])
			continue
		}
		if at, ok := l.(*plug); ok {
			at.note()
		} else {
			lost += l.Missed()
		}
		gone = append(gone, l)
	}
	p.past.Lost += lost
	p.links, p.hooks = links, hooks
	p.mu.Unlock()
	errs := make([]error, len(gone))
	var wg sync.WaitGroup
	for part := range min(len(gone), stoppers) { // each waits for the kernel, but they need not wait for each other
		wg.Go(func() {
			for i := part; i < len(gone); i += stoppers {
				errs[i] = gone[i].Stop()
			}
		})
	}
	wg.Wait()
	p.over = append(p.over, gone...)
	var all uint64
	for _, l := range gone {
		if _, ok := l.(*plug); !ok {
			all += l.Missed()
		}
	}
	p.mu.Lock()
	p.past.Lost += all - lost
	p.mu.Unlock()
	return errors.Join(errs...)
}

// stoppers is how many links of a program are stopped at a time.
const stoppers = 64

// Close detaches and frees everything.
func (e *Engine) Close() error {
	errs := []error{e.Detach(), e.free()}
	e.closing.Lock()
	defer e.closing.Unlock()
	if e.signals != nil {
		signal.Stop(e.signals)
	}
	e.opt.Previous = nil // or every generation would keep all before it
	if e.tables != nil {
		e.tables.Close()
	}
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
		var ts, tai unix.Timespec
		if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
			return fmt.Errorf("read boot clock: %w", err)
		}
		if err := unix.ClockGettime(unix.CLOCK_TAI, &tai); err != nil {
			return fmt.Errorf("read atomic time: %w", err)
		}
		value := make([]uint64, ir.NumGlobals)
		value[ir.GlobalStart], value[ir.GlobalTAI] = uint64(ts.Nano()), uint64(tai.Nano()-ts.Nano())
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
