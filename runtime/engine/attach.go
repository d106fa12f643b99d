package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cilium/ebpf"

	"github.com/slopebpf/slope/bpf"
	"github.com/slopebpf/slope/bpf/attach"
	"github.com/slopebpf/slope/compiler/ir"
	"github.com/slopebpf/slope/compiler/lower"
	"github.com/slopebpf/slope/lang/source"
	"github.com/slopebpf/slope/lang/types"
)

// many tells whether a function is loaded for a link that attaches to many places: all uprobes where the kernel can, and
// kprobes that are more than one. Dispatchers have a link for each hook.
func (e *Engine) many(f *ir.Func) bool {
	if f.Type != ir.Uprobe {
		return false
	}
	switch h := &f.Hooks[0]; {
	case h.Session:
		return e.opt.Switch == nil
	case h.Kind == types.HookUprobe, h.Kind == types.HookUretprobe:
		return e.opt.Uprobe >= MultiWay || e.opt.Uprobe == BestWay && e.opt.Features.UprobeMulti() == nil
	}
	for i := range f.Hooks {
		if f.Hooks[i].Offset > 0 {
			return false
		}
	}
	if e.opt.Switch != nil || e.opt.Kprobe != BestWay {
		return e.opt.Switch == nil && e.opt.Kprobe >= MultiWay
	}
	return len(f.Hooks) > 1 && f.Hooks[0].Traced && e.opt.Features.KprobeMulti() == nil
}

// bounded tells whether more places need a link of their own than a script may have: to attach and to detach each takes the kernel
// milliseconds. Those of trampolines were counted when the script was checked.
func (e *Engine) bounded() error {
	n, most := 0, e.obj.Checked.Config.MaxProbes
	var beyond *ir.Func // the first that is
	for _, f := range e.obj.IR.Funcs {
		if f.Type != ir.Uprobe || e.many(f) {
			continue
		}
		for i := range f.Hooks {
			n += max(len(f.Hooks[i].Points), 1)
		}
		if n > most && beyond == nil {
			beyond = f
		}
	}
	if beyond == nil {
		return nil
	}
	var d source.Diagnostics
	d.Errorf(e.obj.IR.Source, beyond.Span, "got %d places, each of which needs a link of its own (%s): the limit is %d", n, e.whyAlone(&beyond.Hooks[0]), most).
		WithHint("narrow the pattern, or raise max_probes")
	return d
}

// whyAlone tells why a hook's link is to one place.
func (e *Engine) whyAlone(h *types.Hook) string {
	way, has := e.opt.Kprobe, e.opt.Features.KprobeMulti
	if h.Kind == types.HookUprobe || h.Kind == types.HookUretprobe {
		way, has = e.opt.Uprobe, e.opt.Features.UprobeMulti
	} else if e.opt.Switch != nil {
		return "so that the script can be replaced while it runs"
	}
	if way == SingleWay {
		return "as --attach says"
	}
	if err := has(); err != nil {
		return err.Error()
	}
	return "the kernel does not trace them together"
}

// wanted tells what the kernel lacks for a way that was asked for.
func wanted(way Way, has func() error) error {
	if way >= MultiWay {
		return has()
	}
	return nil
}

// attachAll attaches every program that the kernel calls; of those that run only while an objective burns the ones that
// the generation before has attached. On an error, or when ctx ends, what was attached before is detached again.
func (e *Engine) attachAll(ctx context.Context) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	defer e.tellRefused()
	burning := e.opt.Previous.burning()
	wanted := func(p *program) bool {
		return !p.leftOut() && kernelCalled(p.fn) && (p.fn.Burning < 0 || burning[p.burning])
	}
	total, done := 0, 0
	for _, p := range e.all {
		if wanted(p) {
			total += len(p.fn.Hooks)
		}
	}
	for i := len(e.all) - 1; i >= 0; i-- { // in reverse, so that programs fire in the script's order
		p := e.all[i]
		if !wanted(p) {
			continue
		}
		err := e.attachProgram(ctx, p, func(n int) {
			if done += n; e.opt.Progress != nil {
				e.opt.Progress(done, total)
			}
		})
		if err != nil {
			e.detachLocked()
			return err
		}
	}
	if e.Missing() > 0 && !slices.ContainsFunc(e.all, func(p *program) bool { return !kernelCalled(p.fn) || len(p.links) > 0 || !p.leftOut() && !wanted(p) }) {
		if len(e.refusals) == 0 { // they were told of before
			return errors.New("no probes to attach: the kernel refuses all of them")
		}
		var d source.Diagnostics
		d.Errorf(e.obj.IR.Source, e.refusals[0].span, "no probes to attach: the kernel refuses all of them, the first: %s", e.refusals[0].first)
		return d
	}
	e.running = true
	return nil
}

// attachProgram attaches a program to all of its hooks, and tells after how many more each time.
func (e *Engine) attachProgram(ctx context.Context, p *program, progress func(n int)) error {
	p.missing.Store(0)
	if kind := p.fn.Hooks[0].Kind; !p.single && (kind == types.HookKprobe || kind == types.HookKretprobe) {
		named, addressed := byName(p.fn.Hooks)
		if err := errors.Join(e.attachMany(ctx, p, named), e.attachMany(ctx, p, addressed)); err != nil {
			return err
		}
		progress(len(p.fn.Hooks))
		return nil
	}
	for h := range p.fn.Hooks {
		err := e.attach(p, &p.fn.Hooks[h])
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return err
		}
		progress(1)
	}
	return nil
}

// byName parts functions into those that the kernel finds by their names, which are its own, and those of its modules, whose
// addresses it is told: a link has one or the other.
func byName(hooks []types.Hook) (named, addressed []types.Hook) {
	for _, h := range hooks {
		if h.Address == 0 {
			named = append(named, h)
		} else {
			addressed = append(addressed, h)
		}
	}
	return named, addressed
}

// attachMany attaches a program to functions of the kernel by one link. Where the kernel refuses some the others are attached
// in groups, if the script goes on without what is missing.
func (e *Engine) attachMany(ctx context.Context, p *program, hooks []types.Hook) error {
	if len(hooks) == 0 || ctx.Err() != nil {
		return ctx.Err()
	}
	names := make([]string, len(hooks))
	for i, h := range hooks {
		if names[i] = h.Event; h.Address != 0 {
			names[i] = fmt.Sprintf("%#x", h.Address)
		}
	}
	began := time.Now()
	var link attach.Link
	var err error
	if hooks[0].Session {
		link, err = attach.KprobeSession(p.prog, names)
	} else {
		link, err = attach.KprobeMulti(p.prog, names, hooks[0].Kind == types.HookKretprobe)
	}
	n := len(hooks)
	switch {
	case err == nil:
		e.attached(p, link, &hooks[0], n, began)
		return nil
	case !e.refusal(err):
		return err
	case n > 1:
		if err := e.attachMany(ctx, p, hooks[:n/2]); err != nil { // that names the function
			return err
		}
		return e.attachMany(ctx, p, hooks[n/2:])
	}
	if hooks[0].Address != 0 {
		err = fmt.Errorf("%s: %w", hooks[0].Event, err)
	}
	return e.without(p, err, 1)
}

// attach attaches a program to one of its hooks. Where the kernel refuses some of many places the others are attached in
// groups, if the script goes on without what is missing.
func (e *Engine) attach(p *program, h *types.Hook) error {
	began := time.Now()
	var link attach.Link
	var err error
	if e.opt.Switch != nil && h.Kind != types.HookIter { // that ends before it could be replaced
		link, err = e.opt.Switch.plug(e, p, h)
	} else {
		at := *h
		if e.opt.DryRun && h.Pin != "" {
			err = attach.Pinnable(h.Pin)
			at.Pin = ""
		}
		if err == nil {
			link, err = attachTo(p.prog, p.fn.Type, &at, e.opt.Pid)
		}
	}
	if err == nil {
		e.attached(p, link, h, max(len(h.Points), 1), began)
		return nil
	}
	if n := len(h.Points); n > 1 && e.refusal(err) {
		first, second := *h, *h
		first.Points, second.Points = h.Points[:n/2], h.Points[n/2:]
		if err := e.attach(p, &first); err != nil { // that names the place
			return err
		}
		return e.attach(p, &second)
	}
	if trampoline(h) && !errors.Is(err, bpf.ErrPrivilege) {
		return e.without(p, refusedBy(p, h, err), 1)
	}
	if e.refusal(err) {
		return e.without(p, err, 1)
	}
	return err
}

// trampoline tells whether the kernel calls a hook's programs by a trampoline, which not every function may have.
func trampoline(h *types.Hook) bool { return h.Kind == types.HookFentry || h.Kind == types.HookFexit }

// refusedBy says that a trampoline is refused.
func refusedBy(p *program, h *types.Hook, err error) error {
	return fmt.Errorf("this kernel cannot run %s: its trampolines refuse it (by policy of the host, or because the function may not be traced): %w", asked(p.fn.Hook, h), err)
}

// asked is what serves a hook, after what the script asks for where that is something else.
func asked(by string, h *types.Hook) string {
	if h.Asked != "" {
		return h.Asked + ", served by " + by
	}
	return by
}

// refused is that the kernel takes no program at a place, whatever it does.
type refused struct {
	source.Diagnostics // with the attach point
	err                error
}

// Unwrap gives the attach point and the reason.
func (r *refused) Unwrap() []error { return []error{r.Diagnostics, r.err} }

// without leaves out places of a program that the kernel refuses, as far as the script goes on without; otherwise it is an
// error at the attach point.
func (e *Engine) without(p *program, err error, places int) error {
	if e.obj.Checked.Config.Missing == types.MissingError {
		r := &refused{err: err}
		if d := r.Errorf(e.obj.IR.Source, p.fn.Span, "%s", err); e.placesOf(p.fn.Span) > 1 {
			d.WithHint("config = { missing_probes = warn } goes on without what the kernel refuses")
		}
		return r
	}
	p.missing.Add(int64(places * p.fn.Clauses))
	for i := range e.refusals {
		if at := &e.refusals[i]; at.span == p.fn.Span {
			at.places += places
			return nil
		}
	}
	e.refusals = append(e.refusals, refusal{p.fn.Span, err, places})
	return nil
}

// refusal is what the kernel refuses of an attach point.
type refusal struct {
	span   source.Span
	first  error
	places int
}

// tellRefused tells what the script goes on without, once for each attach point however many of its places are refused.
func (e *Engine) tellRefused() {
	if e.obj.Checked.Config.Missing == types.MissingWarn && e.opt.Warn != nil {
		for _, at := range e.refusals {
			var d source.Diagnostics
			if at.places == 1 {
				d.Warnf(e.obj.IR.Source, at.span, "%s", at.first)
			} else {
				d.Warnf(e.obj.IR.Source, at.span, "the kernel refuses %d of %d probes here, the first: %s", at.places, e.placesOf(at.span), at.first)
			}
			e.opt.Warn(d)
		}
	}
	e.refusals = nil
}

// placesOf is how many places an attach point has.
func (e *Engine) placesOf(span source.Span) (n int) {
	for _, f := range e.obj.IR.Funcs {
		if f.Span != span {
			continue
		}
		for i := range f.Hooks {
			n += max(len(f.Hooks[i].Points), 1)
		}
	}
	return n
}

// Unwatch takes programs off the watchpoints at an address. What else they are attached to stays.
func (e *Engine) Unwatch(address uint64) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	var err error
	for _, p := range e.all {
		err = errors.Join(err, p.takeOff(func(h *types.Hook) bool {
			return h.Kind == types.HookPerf && h.Perf.Mode != 0 && h.Perf.Address == address
		}), p.free())
	}
	return err
}

// refusal tells whether an error is about the place, not about privileges or what the kernel can do at all.
func (e *Engine) refusal(err error) bool {
	var at *attach.Error
	return errors.As(err, &at) && !errors.Is(err, bpf.ErrPrivilege) && !errors.Is(err, bpf.ErrNotSupported)
}

// Missing is how many of the script's probes the kernel refuses.
func (e *Engine) Missing() (n int) {
	for _, p := range e.all {
		n += int(p.missing.Load())
	}
	return n
}

// Attached is how many of the script's probes are attached, or would be where they burn.
func (e *Engine) Attached() int { return e.obj.Probes() - e.Missing() }

// attached keeps a link.
func (e *Engine) attached(p *program, link attach.Link, h *types.Hook, places int, began time.Time) {
	p.mu.Lock()
	p.links, p.hooks = append(p.links, link), append(p.hooks, h)
	p.mu.Unlock()
	if e.opt.Verbose == nil {
		return
	}
	what := strings.TrimSuffix(p.fn.Hook, lower.WithReturn)
	switch {
	case h.Path != "":
		what, _, _ = strings.Cut(what, ":")
		what += ":" + h.Places()
	case len(p.fn.Hooks) > 1 && places == 1:
		what = h.Event
	}
	what = asked(what, h)
	if h.Session {
		what += lower.WithReturn
	}
	if places > 1 && h.Path == "" {
		what += fmt.Sprintf(" (%d places)", places)
	}
	e.tell("attached %s by %s in %s", what, link.Mechanism(), short(time.Since(began)))
}

func (e *Engine) tell(format string, args ...any) {
	if e.opt.Verbose != nil {
		e.opt.Verbose(fmt.Sprintf(format, args...))
	}
}

// short is a duration in milliseconds.
func short(d time.Duration) string { return fmt.Sprintf("%.1f ms", float64(d)/1e6) }

// attachTo attaches a loaded program to a hook.
func attachTo(prog *ebpf.Program, typ ir.ProgType, h *types.Hook, pid int) (attach.Link, error) {
	switch h.Kind {
	case types.HookRaw:
		if typ == ir.TPBTF {
			return attach.Tracing(prog, typ.String())
		}
		_, name := inModule(h.Event)
		return attach.RawTracepoint(prog, name)
	case types.HookTracepoint:
		link, err := attach.Tracepoint(prog, h.ID)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", h.Event, err)
		}
		return link, nil
	case types.HookProfile:
		return attach.CPUClock(prog, attach.Sampling{Period: uint64(h.Period)})
	case types.HookPerf:
		if ev := h.Perf; ev.Len > 0 {
			return attach.Watchpoint(prog, attach.Watch{Address: ev.Address, Len: ev.Len, Mode: ev.Mode}, pid)
		}
		return attach.Counter(prog, uint32(h.Perf.Type), h.Perf.Config, attach.Sampling{Period: h.Perf.Count}, pid)
	case types.HookKprobe, types.HookKretprobe:
		if h.Session {
			return attach.KprobeSession(prog, []string{h.Event})
		}
		return attach.Kprobe(prog, h.Event, h.Offset, h.Kind == types.HookKretprobe)
	case types.HookFentry:
		return attach.Tracing(prog, "fentry")
	case types.HookFexit:
		return attach.Tracing(prog, "fexit")
	case types.HookIter:
		if !strings.HasPrefix(h.Event, "task") {
			pid = 0
		}
		if h.Pin != "" {
			return attach.PinnedIter(prog, h.Event, pid, h.Pin)
		}
		return attach.Iter(prog, h.Event, pid)
	case types.HookUprobe, types.HookUretprobe:
		points := make([]attach.Point, len(h.Points))
		for i, pt := range h.Points {
			points[i] = attach.Point{Offset: pt.Offset, RefCtr: pt.RefCtr}
		}
		if h.Session {
			return attach.UprobeSession(prog, h.Path, points, pid)
		}
		return attach.Uprobe(prog, h.Path, points, pid, h.Kind == types.HookUretprobe)
	}
	panic(fmt.Sprintf("BUG: attach hook of kind %d", h.Kind))
}
