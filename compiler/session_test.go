package compiler_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/slopebpf/slope/compiler"
	"github.com/slopebpf/slope/compiler/backend"
	"github.com/slopebpf/slope/compiler/interp"
	"github.com/slopebpf/slope/compiler/ir"
	"github.com/slopebpf/slope/lang/source"
	"github.com/slopebpf/slope/lang/syntax"
	"github.com/slopebpf/slope/lang/types"
	"github.com/slopebpf/slope/stdlib"
)

// both resolves functions of the kernel whose entry and return one program may serve: those whose names do not begin with n.
type both struct{ fixture }

func (f both) Resolve(p *types.Probe, a *syntax.AttachPoint) ([]*types.Target, error) {
	kinds := map[string]types.HookKind{"kprobe": types.HookKprobe, "kretprobe": types.HookKretprobe}
	kind, ok := kinds[p.Name]
	if !ok {
		return f.fixture.Resolve(p, a)
	}
	return []*types.Target{{Probe: p, Name: p.Name + ":" + a.Parts[1], Form: types.CArgs, Goid: -1, Syscall: -1, Return: kind == types.HookKretprobe,
		Hook: types.Hook{Kind: kind, Event: a.Parts[1], Session: a.Parts[1][0] != 'n'}}}, nil
}

// at is a world in which functions are called, or return.
type at struct {
	*world
	returning int64
}

func (a at) Helper(h ir.Helper) int64 {
	if h == ir.HelperReturning {
		return a.returning
	}
	return a.world.Helper(h)
}

// TestSession: clauses on the entry of functions and on the return of the same are one program, which runs those of the one
// or of the other. The kernel runs such programs in TestSession of package cli and in the matrix.
func TestSession(t *testing.T) {
	const objective = " sli s { unit = seconds; begin { observe(1ms); } } slo o = 99% of s <= 1ms over 30d;"
	for script, want := range map[string]struct {
		funcs    int // programs
		sessions int
		maps     string // after a call and a return of each
	}{
		"kprobe:f { @in = count(); } kretprobe:f { @out = count(); }":                                                            {1, 1, "@in 1 @out 1"},
		"kretprobe:f { @out = count(); } kprobe:f { @in = count(); @in = count(); }":                                             {1, 1, "@out 1 @in 2"},
		"kprobe:f { @in = count(); } kprobe:f { @in = count(); } kretprobe:f /retval == 1/ { @out = count(); }":                  {1, 1, "@in 2"},
		"kprobe:f, kprobe:g { @in = count(); } kretprobe:f, kretprobe:g { @out = count(); }":                                     {1, 1, "@in 1 @out 1"},
		"kprobe:f, kprobe:g { @in = count(); } kretprobe:f { @out = count(); }":                                                  {2, 0, ""},
		"kprobe:f { @in = count(); } kretprobe:f { @out = count(); } kretprobe:g { @g = count(); } kprobe:n { } kretprobe:n { }": {4, 1, "@in 1 @out 1"},
		"kprobe:f /burning(o)/ { @in = count(); } kretprobe:f { @out = count(); }" + objective:                                   {3, 0, ""},
		"kprobe:f /burning(o)/ { @in = count(); } kretprobe:f /burning(o)/ { @out = count(); }" + objective:                      {2, 1, ""},
	} {
		reg := stdlib.New()
		o := options(backend.Features{Function: func(string) int64 { return 1 }}, false, -1)
		o.Universe, o.Library, o.Resolver = reg, reg, both{fixture{&stdlib.Machine{Registry: reg}}}
		obj, diags := compiler.Compile(source.NewFile("s.slo", script), o)
		if diags.HasErrors() {
			t.Errorf("%s: %v", script, diags)
			continue
		}
		sessions := 0
		m := interp.New(obj.IR, nil, 1)
		for _, f := range obj.IR.Funcs {
			if !f.Hooks[0].Session {
				continue
			}
			sessions++
			if f.Hooks[0].Kind != types.HookKprobe {
				t.Errorf("%s: the hook is not the entry", script)
			}
			for _, returning := range []int64{0, 1} {
				m.Env = at{&world{}, returning}
				if ret, err := m.Run(f, make([]uint64, 24)); ret != 0 || err != nil {
					t.Errorf("%s: returned %d, %v", script, ret, err)
				}
			}
		}
		got := ""
		for _, im := range obj.IR.Maps {
			if v := m.Map(im).Value("\x00\x00\x00\x00", 0); im.Name[0] == '@' && le.Uint64(v) > 0 {
				got += fmt.Sprintf(" %s %d", im.Name, le.Uint64(v))
			}
		}
		if len(obj.IR.Funcs) != want.funcs || sessions != want.sessions || sessions > 0 && strings.TrimSpace(got) != want.maps {
			t.Errorf("%s: %d programs, %d for both,%s", script, len(obj.IR.Funcs), sessions, got)
		}
	}
}
