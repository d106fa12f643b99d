package opt

import (
	"strings"
	"testing"

	"github.com/slopebpf/slope/compiler/ir"
	"github.com/slopebpf/slope/lang/source"
)

const head = "map m array key 4 value 64 entries 1\nmap h hash key 8 value 8 entries 4\nfunc raw_tp f \"\"\nslot s0 64 x\n"

// TestRun holds small functions, one thing a line, before and after.
func TestRun(t *testing.T) {
	for _, c := range []struct{ name, before, after string }{
		{"fold", "v0 = const 6; v1 = const 7; v2 = mul v0, v1; ret v2", "v2 = const 42; ret v2"},
		{"powers of two", "v0 = ctx; v1 = load.u8 v0, 0; v2 = const 8; v3 = mul v1, v2; v4 = udiv v3, v2; v5 = umod v4, v2; ret v5",
			"v0 = ctx; v1 = load.u8 v0, 0; v6 = const 3; v3 = shl v1, v6; v4 = shr v3, v6; v8 = const 7; v5 = and v4, v8; ret v5"},
		{"constants move right and join", "v0 = ctx; v1 = load.u8 v0, 0; v2 = const 8; v3 = add v2, v1; v4 = sub v3, v2; v5 = const 1; v6 = add v4, v5; ret v6",
			"v0 = ctx; v1 = load.u8 v0, 0; v9 = const 1; v6 = add v1, v9; ret v6"},
		{"narrow already", "v0 = ctx; v1 = load.u2 v0, 0; v2 = ext.u4 v1; v3 = ext.s4 v2; v4 = const 65535; v5 = and v3, v4; ret v5",
			"v0 = ctx; v1 = load.u2 v0, 0; ret v1"},
		{"once", "v0 = helper get_current_pid_tgid; v1 = helper get_current_pid_tgid; v2 = helper get_prandom_u32; v3 = helper get_prandom_u32; v4 = sub v0, v1; v5 = sub v3, v2; v6 = add v4, v5; ret v6",
			"v2 = helper get_prandom_u32; v3 = helper get_prandom_u32; v5 = sub v3, v2; ret v5"},
		{"guards stay", "v0 = ctx; v1 = load.u1 v0, 0; v2 = mask v1, 7; v3 = mapvalue m; v4 = index v3, v2, 8; v5 = load.u8 v4, 0; ret v5",
			"v0 = ctx; v1 = load.u1 v0, 0; v2 = mask v1, 7; v3 = mapvalue m; v4 = index v3, v2, 8; v5 = load.u8 v4, 0; ret v5"},
		{"loads between writes", "v0 = slot s0; v1 = load.u8 v0, 0; v2 = load.u8 v0, 0; store.8 v0, 8, v2; v3 = load.u8 v0, 0; v4 = add v1, v2; v5 = add v4, v3; ret v5",
			"v0 = slot s0; v1 = load.u8 v0, 0; store.8 v0, 8, v1; v4 = add v1, v1; v5 = add v4, v1; ret v5"},
		{"loads after a branch", "v0 = mapvalue m; v1 = load.u8 v0, 0; if v1 → b1 else → b2; b1:; v2 = load.u8 v0, 0; store.8 v0, 8, v2; v3 = load.u8 v0, 0; v4 = add v2, v3; ret v4; b2:; ret v1",
			"v0 = mapvalue m; v1 = load.u8 v0, 0; if v1 → b1 else → b2; b1:; store.8 v0, 8, v1; v3 = load.u8 v0, 0; v4 = add v1, v3; ret v4; b2:; ret v1"},
		{"variables in slots", "v0 = slot s0; v1 = ctx; v2 = load.u8 v1, 0; zero v0, 0, 32; store.8 v0, 8, v2; v3 = load.s4 v0, 16; v4 = load.u8 v0, 8; v5 = add v4, v3; store.4 v0, 8, v5; v6 = load.s4 v0, 8; ret v6",
			"v1 = ctx; v2 = load.u8 v1, 0; v6 = ext.s4 v2; ret v6"},
		{"slots others write", "v0 = slot s0; v1 = const 0; store.8 v0, 0, v1; store.8 v0, 24, v1; v2 = helper get_current_comm, v0; v3 = load.u8 v0, 0; v4 = load.u8 v0, 24; v5 = add v3, v4; ret v5",
			"v0 = slot s0; v1 = const 0; store.8 v0, 0, v1; store.8 v0, 24, v1; v2 = helper get_current_comm, v0; v3 = load.u8 v0, 0; ret v3"},
		{"decided branch", "v0 = const 1; if v0 → b1 else → b2; b1:; v1 = const 5; → b3(v1); b2:; v2 = const 6; → b3(v2); b3(v3: scalar):; ret v3",
			"v1 = const 5; ret v1"},
		{"and then", "v0 = ctx; v1 = load.u8 v0, 0; v2 = load.u8 v0, 8; if v1 → b1 else → b2; b1:; v3 = ult v1, v2; → b3(v3); b2:; v4 = const 0; → b3(v4); b3(v5: scalar):; if v5 → b4 else → b5; b4:; ret v1; b5:; ret v2",
			"v0 = ctx; v1 = load.u8 v0, 0; v2 = load.u8 v0, 8; if v1 → b1 else → b3; b1:; v3 = ult v1, v2; if v3 → b2 else → b3; b2:; ret v1; b3:; ret v2"},
		{"not", "v0 = ctx; v1 = load.u8 v0, 0; v2 = load.u8 v0, 8; v3 = ult v1, v2; v4 = const 0; v5 = eq v3, v4; if v5 → b1 else → b2; b1:; ret v1; b2:; ret v2",
			"v0 = ctx; v1 = load.u8 v0, 0; v2 = load.u8 v0, 8; v5 = ule v2, v1; if v5 → b1 else → b2; b1:; ret v1; b2:; ret v2"},
		{"empty blocks", "v0 = ctx; v1 = load.u8 v0, 0; if v1 → b1 else → b2; b1:; → b3; b2:; → b3; b3:; ret v1",
			"v0 = ctx; v1 = load.u8 v0, 0; ret v1"},
		{"null check stays", "v0 = slot s0; v1 = const 0; store.8 v0, 0, v1; v2 = lookup h, v0; nullcheck v2 → b1 else → b2; b1:; v3 = nonnull v2; → b2; b2:; ret v1",
			"v0 = slot s0; v1 = const 0; store.8 v0, 0, v1; v2 = lookup h, v0; nullcheck v2 → b1 else → b2; b1:; v3 = nonnull v2; → b2; b2:; ret v1"},
		{"loop parameters", "v0 = ctx; v1 = load.u8 v0, 0; v2 = const 0; → b1(v2, v1, v1); b1(v3: scalar, v4: scalar, v5: scalar):; v6 = const 4; v7 = ult v3, v6; if v7 → b2 else → b3; b2:; v8 = const 1; v9 = add v3, v8; v10 = add v5, v8; → b1(v9, v4, v10); b3:; ret v4",
			"v0 = ctx; v1 = load.u8 v0, 0; v2 = const 0; → b1(v2); b1(v3: scalar):; v6 = const 4; v7 = ult v3, v6; if v7 → b2 else → b3; b2:; v8 = const 1; v9 = add v3, v8; → b1(v9); b3:; ret v1"},
		{"offsets", "v0 = slot s0; v1 = offset v0, 8; v2 = offset v1, 16; v3 = const 2; v4 = bound v3, 1; v5 = index v2, v4, 8; v6 = load.u8 v5, 4; ret v6",
			"v0 = slot s0; v6 = load.u8 v0, 36; ret v6"},
	} {
		p := parse(t, head+lines(c.before))
		if err := Run(p, true); err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		want := parse(t, head+lines(c.after))
		if got := p.Funcs[0].String(); got != want.Funcs[0].String() {
			t.Errorf("%s: got\n%s\nwant\n%s", c.name, got, want.Funcs[0])
		}
	}
}

func lines(s string) string { return "b0:\n" + strings.ReplaceAll(s, "; ", "\n") + "\n" }

func parse(t *testing.T, text string) *ir.Program {
	t.Helper()
	p, err := ir.Parse(source.NewFile("test.ir", strings.ReplaceAll(text, ":;", ":")))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestPasses(t *testing.T) {
	for _, p := range Passes() {
		if p.Name == "" || p.Reason == "" || p.Run == nil || !strings.Contains(Describe(), p.Reason) {
			t.Errorf("pass %q lacks something", p.Name)
		}
	}
}
