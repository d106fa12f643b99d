package lower

// Here every pair of a clause and a target finds its hook, clauses on one hook become a function, and hooks with the same
// clauses share one.

import (
	"fmt"
	"slices"
	"strings"

	"github.com/slopebpf/slope/compiler/ir"
	"github.com/slopebpf/slope/lang/check"
	"github.com/slopebpf/slope/lang/syntax"
	"github.com/slopebpf/slope/lang/types"
)

// entry is a clause on a hook. For system calls it may stand for several targets at once.
type entry struct {
	clause  *check.Clause
	targets []*types.Target
	raw     bool // served by the targets' raw form
}

func (e *entry) form() types.ArgsForm {
	if e.raw {
		return e.targets[0].Raw.Form
	}
	return e.targets[0].Form
}

func (e *entry) args() *types.Type {
	if e.raw && e.targets[0].Raw.Args != nil {
		return e.targets[0].Raw.Args
	}
	return e.targets[0].Args
}

// group is one future function: its hooks all have the same entries.
type group struct {
	typ     ir.ProgType
	hooks   []types.Hook
	burning *check.SLO // attached only while it burns
	entries []*entry
	returns []*entry // that run when the functions return: see pair
	fn      *ir.Builder
}

// place puts every clause and target on a hook and merges.
func (l *lowerer) place() []*group {
	var order []string
	byHook := map[string]*group{}
	signature := map[string]*strings.Builder{}
	for ci, cl := range l.in.Clauses {
		args, perProbe := clauseNeeds(cl)
		for _, t := range cl.Targets {
			raw := t.Raw != nil && (args == noArgs || t.Raw.Args != nil && (args == scalarArgs || t.Raw.Args.Scalars()))
			hook, typ := t.Hook, l.opt.Kernel.ProgType(t.Hook.Kind)
			if raw {
				hook = types.Hook{Kind: types.HookRaw, Event: t.Raw.Event}
				typ = l.opt.Kernel.ProgType(types.HookRaw)
			}
			key := hookKey(&hook)
			var burning *check.SLO
			if attached(hook.Kind) && cl.Burning != nil {
				burning = cl.Burning
				key += " while " + burning.Name
			}
			if hook.Kind == types.HookPoll { // what one cannot read must not stop another
				key += fmt.Sprint(" clause ", ci)
			}
			g := byHook[key]
			if g == nil {
				g = &group{typ: typ, hooks: []types.Hook{hook}, burning: burning}
				byHook[key], signature[key] = g, &strings.Builder{}
				order = append(order, key)
			}
			fmt.Fprintf(signature[key], "%d", ci)
			if perProbe {
				fmt.Fprintf(signature[key], " %s", t.Name)
			}
			syscall := raw && (t.Raw.Form == types.SyscallEnter || t.Raw.Form == types.SyscallExit)
			if n := len(g.entries); n > 0 && g.entries[n-1].clause == cl && syscall && !perProbe {
				g.entries[n-1].targets = append(g.entries[n-1].targets, t)
			} else {
				g.entries = append(g.entries, &entry{clause: cl, targets: []*types.Target{t}, raw: raw})
			}
			signature[key].WriteByte(';')
		}
	}
	var out []*group
	shared := map[string]*group{}
	for _, key := range order {
		g := byHook[key]
		sign := fmt.Sprint(g.typ, g.hooks[0].Kind, g.hooks[0].Traced, " ", signature[key]) // a program is attached to many at once, or to each
		alone := g.typ == ir.TPBTF || g.hooks[0].Kind == types.HookRaw || !attached(g.hooks[0].Kind)
		if !alone && shared[sign] != nil {
			shared[sign].join(g.hooks[0])
			continue
		}
		shared[sign] = g
		out = append(out, g)
	}
	return pair(out)
}

// pair makes one group of that on the entries of functions and that on the returns of the same, where the kernel may run
// one program for both.
func pair(groups []*group) []*group {
	entryOf := map[types.HookKind]types.HookKind{types.HookKretprobe: types.HookKprobe, types.HookUretprobe: types.HookUprobe}
	places := func(g *group) (text string, ret bool) {
		for _, h := range g.hooks {
			if !h.Session {
				return "", false
			}
			if entry, ok := entryOf[h.Kind]; ok {
				h.Kind, ret = entry, true
			}
			text += hookKey(&h) + "\n"
		}
		if g.burning != nil {
			text += g.burning.Name
		}
		return text, ret
	}
	var out []*group
	first := map[string]*group{}
	for _, g := range groups {
		at, ret := places(g)
		o := first[at]
		switch {
		case at == "" || o == nil:
			first[at] = g
			out = append(out, g)
			continue
		case ret:
			o.returns = g.entries
		default:
			o.hooks, o.entries, o.returns = g.hooks, g.entries, o.entries
		}
	}
	for _, g := range out {
		for i := range g.hooks {
			g.hooks[i].Session = g.returns != nil
		}
	}
	return out
}

// join attaches a group to one hook more. Places in one file are attached as one, where the kernel can: that takes no
// longer for a thousand than for one.
func (g *group) join(h types.Hook) {
	if h.Kind == types.HookUprobe || h.Kind == types.HookUretprobe {
		for i := range g.hooks {
			if o := &g.hooks[i]; o.Path == h.Path && o.Event == h.Event {
				o.Points = append(slices.Clip(o.Points), h.Points...)
				return
			}
		}
	}
	g.hooks = append(g.hooks, h)
}

// attached tells whether the kernel runs the programs of a hook, not the engine.
func attached(k types.HookKind) bool {
	switch k {
	case types.HookBegin, types.HookEnd, types.HookInterval, types.HookSignal, types.HookPoll, types.HookAlert, types.HookTest, types.HookBench:
		return false
	}
	return true
}

func hookKey(h *types.Hook) string {
	points := slices.Clone(h.Points)
	for i := range points {
		points[i].Name = ""
	}
	return fmt.Sprint(h.Kind, " ", h.Event, "+", h.Offset, " ", h.State, " ", h.ID, " ", h.Prog, " ", int64(h.Period), " ", h.Path, " ", points, " ", h.Perf)
}

// argsUse is what a clause reads of the arguments of its probe.
type argsUse uint8

const (
	noArgs     argsUse = iota
	scalarArgs         // what words hold
	allArgs            // arrays, or all of them
)

// clauseNeeds tells what keeps a clause from a cheaper hook, and targets from sharing code.
func clauseNeeds(cl *check.Clause) (args argsUse, perProbe bool) {
	fields := map[syntax.Expr]bool{}
	for e, t := range cl.Info.Types {
		if field, ok := e.(*syntax.Field); ok && t.Scalar() {
			fields[field.X] = true
		}
	}
	for e, row := range cl.Info.Vars {
		perProbe = perProbe || row.PerProbe
		switch {
		case !row.Args:
		case row.Numbered || fields[e]:
			args = max(args, scalarArgs)
		default:
			args = allArgs
		}
	}
	return args, perProbe
}

func hookName(h *types.Hook) string {
	switch h.Kind {
	case types.HookBegin:
		return "begin"
	case types.HookEnd:
		return "end"
	case types.HookInterval:
		return "interval"
	case types.HookProfile:
		return "profile"
	case types.HookUprobe:
		return "uprobe"
	case types.HookUretprobe:
		return "uretprobe"
	case types.HookPoll:
		return "poll"
	case types.HookAlert:
		return "alert"
	case types.HookTest:
		return "test"
	case types.HookBench:
		return "bench"
	case types.HookPerf:
		return "perf"
	}
	return h.Event[strings.IndexByte(h.Event, ':')+1:]
}

// WithReturn follows the text of a hook on the entry of functions, of a program that runs at their returns too.
const WithReturn = " with its return"

func hookText(hooks []types.Hook) string {
	h := &hooks[0]
	text := hookName(h)
	switch h.Kind {
	case types.HookInterval, types.HookProfile:
		text += ":" + h.Period.String()
	case types.HookUprobe, types.HookUretprobe:
		text += ":" + h.Places()
	case types.HookTracepoint:
		text = h.Event
	case types.HookIter:
		text = "iter:" + h.Event
	case types.HookSignal:
		text = "self:signal:" + h.Event
	case types.HookPoll:
		text += ":" + h.Period.String()
		if h.Path != "" {
			text += ":cgroup:" + h.Path
		}
	case types.HookAlert:
		text += ":" + h.Event + ":" + h.State
	case types.HookTest, types.HookBench:
		text += ":" + h.Event
	case types.HookPerf:
		text = h.Event
	case types.HookKprobe, types.HookKretprobe, types.HookFentry, types.HookFexit:
		text = map[types.HookKind]string{types.HookKprobe: "kprobe:", types.HookKretprobe: "kretprobe:", types.HookFentry: "fentry:", types.HookFexit: "fexit:"}[h.Kind] + h.Event
	}
	if len(hooks) > 1 {
		text += fmt.Sprintf(" and %d more", len(hooks)-1)
	}
	if h.Session {
		text += WithReturn
	}
	return text
}
