package interp

import (
	"fmt"
	"strings"
	"testing"

	"github.com/slopebpf/slope/compiler/ir"
	"github.com/slopebpf/slope/lang/source"
)

const head = `map h hash key 8 value 8 entries 2
map l lruhash key 8 value 8 entries 2
map p percpuhash key 8 value 8 entries 2
map a array key 4 value 16 entries 1
ring r ringbuf entries 4096
func raw_tp f ""
slot s0 8 x
slot s1 16 y
b0:
`

// env has "text" at the user address 16 and nothing else.
type env struct{}

func (env) Helper(h ir.Helper) int64 { return int64(h) }
func (env) Stack(kernel bool) []uint64 {
	if kernel {
		return []uint64{3, 2, 1}
	}
	return nil
}
func (env) Task(pid int64) uint64 { return uint64(pid) }
func (env) Comm() [16]byte        { return [16]byte{'c', 'o', 'm', 'm'} }

func (env) Read(addr uint64, buf []byte, kernel bool) bool {
	const text = "text\x00"
	if kernel || addr < 16 || addr+uint64(len(buf)) > 16+uint64(len(text)) {
		return false
	}
	copy(buf, text[addr-16:])
	return true
}

func parse(t *testing.T, body string) *ir.Program {
	t.Helper()
	p, err := ir.Parse(source.NewFile("test.ir", head+strings.ReplaceAll(strings.ReplaceAll(body, "; ", "\n"), ":;", ":")+"\n"))
	if err != nil {
		t.Fatalf("%v\n%s", err, body)
	}
	return p
}

const key1 = "v0 = slot s0; v1 = const 1; store.8 v0, 0, v1; "

// TestResults runs small functions; the context holds 7 and 16, the address of "text".
func TestResults(t *testing.T) {
	for _, c := range []struct {
		name, body string
		want       int64
	}{
		{"arithmetic", "v0 = ctx; v1 = load.u8 v0, 0; v2 = const 3; v3 = sdiv v1, v2; ret v3", 2},
		{"extension", "v0 = const 255; v1 = ext.s1 v0; ret v1", -1},
		{"bound", "v0 = const -1; v1 = bound v0, 9; ret v1", 9},
		{"update, lookup", key1 + "v2 = update h, v0, v0, 0; v3 = lookup h, v0; nullcheck v3 → b1 else → b2; b1:; v4 = nonnull v3; v5 = load.u8 v4, 0; ret v5; b2:; ret v2", 1},
		{"no entry", key1 + "v3 = lookup h, v0; nullcheck v3 → b1 else → b2; b1:; v4 = nonnull v3; v5 = load.u8 v4, 0; ret v5; b2:; v6 = const 44; ret v6", 44},
		{"noexist", key1 + "v2 = update h, v0, v0, 0; v3 = update h, v0, v0, 1; ret v3", errExists},
		{"exist", key1 + "v3 = update h, v0, v0, 2; ret v3", errNoEntry},
		{"full", key1 + "v2 = update h, v0, v0, 0; v3 = const 2; store.8 v0, 0, v3; v4 = update h, v0, v0, 0; v5 = const 3; store.8 v0, 0, v5; v6 = update h, v0, v0, 0; ret v6", errTooBig},
		{"evicted", key1 + "v2 = update l, v0, v0, 0; v3 = const 2; store.8 v0, 0, v3; v4 = update l, v0, v0, 0; v5 = const 3; store.8 v0, 0, v5; v6 = update l, v0, v0, 0; store.8 v0, 0, v1; v7 = delete l, v0; ret v7", errNoEntry},
		{"delete", key1 + "v2 = update h, v0, v0, 0; v3 = delete h, v0; v4 = delete h, v0; v5 = const 100; v6 = mul v3, v5; v7 = add v6, v4; ret v7", errNoEntry},
		{"read fault", "v0 = slot s0; v1 = const 5; v2 = read.user v0, v1, 8; v3 = load.u8 v0, 0; v4 = add v2, v3; ret v4", errFault},
		{"string", "v0 = slot s0; v1 = ctx; v2 = load.u8 v1, 8; v3 = const 8; v4 = readstr.user v0, v2, v3, 8; ret v4", 5},
		{"string cut", "v0 = slot s0; v1 = ctx; v2 = load.u8 v1, 8; v3 = const 3; v4 = readstr.user v0, v2, v3, 8; v5 = load.u1 v0, 2; v6 = add v4, v5; ret v6", 3},
		{"fetch and add", "v0 = mapvalue a; v1 = const 5; addmem v0, 0, v1; v2 = fetchadd v0, 0, v1; v3 = load.u8 v0, 0; v4 = mul v2, v3; ret v4", 50},
		{"a task", "v0 = const 9; v1 = helper task_from_pid, v0; nullcheck v1 → b1 else → b2; b1:; v2 = nonnull v1; helper task_release, v2; ret v0; b2:; v3 = const 0; ret v3", 9},
		{"no task", "v0 = const 0; v1 = helper task_from_pid, v0; nullcheck v1 → b1 else → b2; b1:; v2 = nonnull v1; helper task_release, v2; ret v0; b2:; v3 = const 5; ret v3", 5},
		{"parameters swap", "v0 = const 1; v1 = const 2; v2 = const 0; → b1(v0, v1, v2); b1(v3: scalar, v4: scalar, v5: scalar):; if v5 → b2 else → b3; b2:; ret v3; b3:; v6 = const 1; → b1(v4, v3, v6)", 2},
	} {
		p := parse(t, c.body)
		got, err := New(p, env{}, 1).Run(p.Funcs[0], []uint64{7, 16})
		if err != nil || got != c.want {
			t.Errorf("%s: got %d, %v, want %d", c.name, got, err, c.want)
		}
	}
}

// TestStrict holds what the interpreter refuses.
func TestStrict(t *testing.T) {
	for _, c := range []struct{ name, body, want string }{
		{"slot not written", "v0 = slot s0; v1 = load.u8 v0, 0; ret v1", "byte 0 of slot s0 x was never written"},
		{"key not written", "v0 = slot s0; v1 = const 1; store.4 v0, 0, v1; v2 = delete h, v0; ret v2", "byte 4 of slot s0 x was never written"},
		{"copied before written", "v0 = slot s0; v1 = slot s1; copy v1, 0, v0, 8; v2 = const 0; ret v2", "never written"},
		{"outside", "v0 = slot s0; v1 = const 1; v2 = ctx; v3 = load.u8 v2, 0; v4 = bound v3, 9; v5 = index v0, v4, 8; store.8 v5, 0, v1; ret v1", "bytes 56 to 64 of slot s0 x, which has 8"},
		{"outside the context", "v0 = ctx; v1 = load.u8 v0, 16; ret v1", "of context, which has 16"},
		{"stale", key1 + "v2 = update h, v0, v0, 0; v3 = lookup h, v0; nullcheck v3 → b1 else → b2; b1:; v4 = nonnull v3; v5 = update h, v0, v0, 0; v6 = load.u8 v4, 0; ret v6; b2:; ret v2", "was replaced"},
		{"deleted", key1 + "v2 = update h, v0, v0, 0; v3 = lookup h, v0; nullcheck v3 → b1 else → b2; b1:; v4 = nonnull v3; v5 = delete h, v0; v6 = load.u8 v4, 0; ret v6; b2:; ret v2", "was deleted"},
		{"open record", "v0 = reserve 16; nullcheck v0 → b1 else → b2; b1:; v1 = nonnull v0; v2 = const 0; ret v2; b2:; v3 = const 0; ret v3", "neither submitted nor discarded"},
		{"record gone", "v0 = reserve 16; nullcheck v0 → b1 else → b2; b1:; v1 = nonnull v0; v2 = const 0; submit v1, 0; store.8 v1, 0, v2; ret v2; b2:; v3 = const 0; ret v3", "was submitted"},
		{"task not released", "v0 = const 9; v1 = helper task_from_pid, v0; nullcheck v1 → b1 else → b2; b1:; v2 = nonnull v1; ret v0; b2:; ret v0", "a task is not released"},
		{"task released twice", "v0 = const 9; v1 = helper task_from_pid, v0; nullcheck v1 → b1 else → b2; b1:; v2 = nonnull v1; helper task_release, v2; helper task_release, v2; ret v0; b2:; ret v0", "not held"},
		{"string's rest is no key", "v0 = slot s0; v1 = ctx; v2 = load.u8 v1, 8; v3 = const 8; v4 = readstr.user v0, v2, v3, 8; v5 = delete h, v0; ret v5", "byte 5 of slot s0 x was never written"},
		{"string size", "v0 = slot s0; v1 = ctx; v2 = load.u8 v1, 8; v3 = const 0; v4 = readstr.user v0, v2, v3, 8; ret v4", "a size of 0, want 1 to 8"},
		{"endless", "→ b1; b1:; v0 = const 1; if v0 → b2 else → b3; b2:; → b1; b3:; ret v0", "steps"},
		{"write to the context", "v0 = ctx; v1 = const 1; store.8 v0, 0, v1; ret v1", "read-only"},
	} {
		p := parse(t, c.body)
		_, err := New(p, env{}, 1).Run(p.Funcs[0], []uint64{7, 16})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %s", c.name, err, c.want)
		}
	}
}

// TestRing fills the ring buffer: what does not fit is null, and Drain makes room.
func TestRing(t *testing.T) {
	p := parse(t, "v0 = reserve 16; nullcheck v0 → b1 else → b2; b1:; v1 = nonnull v0; v2 = const 1; store.8 v1, 0, v2; zero v1, 8, 8; submit v1, 0; ret v2; b2:; v3 = const 0; ret v3")
	m := New(p, env{}, 1)
	m.Ring = 64
	got := ""
	for i := range 4 {
		if i == 3 {
			got += fmt.Sprint(" ", len(m.Drain()))
		}
		n, err := m.Run(p.Funcs[0], nil)
		if err != nil {
			t.Fatal(err)
		}
		got += fmt.Sprint(" ", n)
	}
	if want := " 1 1 0 2 1"; got != want {
		t.Errorf("got%s, want%s", got, want)
	}
}

// TestPerCPU keeps a value for every CPU; a new entry is zero on the others.
func TestPerCPU(t *testing.T) {
	p := parse(t, key1+"v2 = update p, v0, v0, 0; ret v2")
	m := New(p, env{}, 3)
	m.CPU = 1
	if _, err := m.Run(p.Funcs[0], nil); err != nil {
		t.Fatal(err)
	}
	pm := m.Map(p.Maps[2])
	for cpu, want := range []byte{0, 1, 0} {
		if got := pm.Value(pm.Keys()[0], cpu)[0]; got != want {
			t.Errorf("CPU %d: got %d, want %d", cpu, got, want)
		}
	}
}
