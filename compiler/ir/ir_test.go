package ir

import (
	"errors"
	"strings"
	"testing"

	"github.com/slopebpf/slope/lang/source"
)

func TestTables(t *testing.T) {
	seen := map[string]bool{}
	for op := OpInvalid; op < numOps; op++ {
		row := opTable[op]
		if row.name == "" || seen[row.name] {
			t.Errorf("op %d: name %q is empty or twice there", op, row.name)
		}
		seen[row.name] = true
		if row.args < -1 || row.args > 3 || row.effect > Guard {
			t.Errorf("%s: bad row %+v", row.name, row)
		}
		args := 0
		for _, f := range opSyntax(op, max(row.args, 0)) {
			if f >= 0 {
				args++
			}
		}
		if row.args >= 0 && args != row.args {
			t.Errorf("%s: the text form has %d operands, the table %d", row.name, args, row.args)
		}
		if op.Scalar() {
			Eval(op, 1, 1)
		}
	}
	for h := HelperNone; h < numHelpers; h++ {
		if row := helperTable[h]; row.name == "" || seen[row.name] {
			t.Errorf("helper %d: name %q is empty or twice there", h, row.name)
		}
		seen[helperTable[h].name] = true
	}
}

const everything = `map @start hash key 8 value 8 entries 4096
map @h array key 4 value 512 entries 1
map @c percpuhash key 16 value 8 entries 10 noprealloc
ring events ringbuf entries 65536
health losses array key 4 value 8 entries 1
counter 0 map_full @start
counter 1 packet_fault
event 0 printf size 24 "%d; %s"

func raw_tp read_exit "sys_exit"
slot s0 8 key
slot s1 32 buf
b0:
  v0 = ctx
  v1 = load.u8 v0, 8
  v2 = load.btf v0, 0
  v3 = load.s4 v2, 120
  v4 = const -4096
  v5 = sub v1, v4
  v6 = ext.s2 v5
  v7 = ule v6, v3
  if v7 → b1 else → b4
b1:
  v8 = slot s0
  store.8 v8, 0, v6
  v9 = lookup @start, v8
  nullcheck v9 → b2 else → b4
b2:
  v10 = nonnull v9
  addmem v10, 0, v6
  atomic v10, 0, v6
  v11 = fetchadd v10, 0, v6
  v12 = cmpxchg v10, 0, v6, v11
  v13 = slot s1
  zero v13, 0, 32
  bytes v13, 8, "a, b;\"\x00\x00"
  v14 = offset v13, 16
  v15 = mask v12, 1
  v16 = index v14, v15, 8
  store.1 v16, 0, v15
  copy v13, 0, v14, 16
  v17 = update @start, v8, v13, 1
  v18 = delete @start, v8
  v19 = read.kernel v13, v1, 32
  v20 = bound v19, 16
  v21 = readstr.user v13, v1, v20, 16
  v22 = helper get_current_comm, v13
  v23 = helper ktime_get_boot_ns
  v24 = mapvalue @h
  v25 = neg v23
  store.8 v24, 504, v25
  v26 = reserve 24
  nullcheck v26 → b3 else → b4
b3:
  v27 = nonnull v26
  zero v27, 0, 24
  submit v27, 1
  → b5(v23)
b4:
  v28 = const 0
  → b5(v28)
b5(v29: scalar):
  ret v29
`

func TestParsePrint(t *testing.T) {
	p, err := Parse(source.NewFile("x.ir", everything))
	if err != nil {
		t.Fatal(err)
	}
	if got := p.String(); got != everything {
		t.Errorf("printed differently:\n%s", got)
	}
	if err := VerifyAll(p); err != nil {
		t.Error(err)
	}
	if got := p.Funcs[0].Clone().String(); !strings.HasSuffix(everything, got) {
		t.Errorf("the clone prints differently:\n%s", got)
	}
}

// Every case breaks one rule of the function above.
func TestVerifyRejects(t *testing.T) {
	for _, c := range []struct{ old, new, want string }{
		{"v7 = ule v6, v3", "v7 = ule v6, v0", "operand v0 of ule is ctx, want scalar"},
		{"v1 = load.u8 v0, 8", "v1 = load.u8 v4, 8", "want a pointer"},
		{"addmem v10, 0, v6", "addmem v9, 0, v6", "which may be null"},
		{"addmem v10, 0, v6", "addmem v10, 8, v6", "reaches bytes 8 to 16 of 8"},
		{"addmem v10, 0, v6", "addmem v2, 8, v6", "addmem to btf memory"},
		{"v15 = mask v12, 1", "v15 = and v12, v12", "want bound, mask or const"},
		{"v15 = mask v12, 1", "v15 = mask v12, 3", "reaches bytes 16 to 41 of 32"},
		{"delete @start, v8", "delete @start, v14\n v99 = delete @c, v8", "reaches bytes 0 to 16 of 8"},
		{"submit v27, 1", "", "open on one way only"},
		{"submit v27, 1", "submit v27, 1\n discard v27", "already gone"},
		{"zero v27, 0, 24", "zero v27, 0, 32", "reaches bytes 0 to 32 of 24"},
		{"ret v29", "ret v23", "used where it is not defined"},
		{"→ b5(v28)", "→ b5", "got 0 arguments, want 1"},
		{"→ b5(v28)", "", "has no end"},
		{"→ b5(v28)", "→ b4", "used where it is not defined|"},
		{"v24 = mapvalue @h", "v24 = mapvalue @start", "mapvalue of a hash map"},
		{"read.kernel v13, v1, 32", "read.kernel v13, v1, 40", "reaches bytes 0 to 40 of 32"},
	} {
		text := strings.Replace(everything, c.old, c.new, 1)
		if text == everything {
			t.Fatalf("%q not found", c.old)
		}
		p, err := Parse(source.NewFile("x.ir", text))
		if err != nil {
			t.Errorf("%s: %v", c.new, err)
			continue
		}
		err = Verify(p, p.Funcs[0])
		var typed *Error
		want, optional := strings.CutSuffix(c.want, "|")
		if optional && err == nil {
			continue
		}
		if !errors.As(err, &typed) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", c.new, err, want)
		}
	}
}

// TestVerifyReferences: what the kernel gives to be given back is given back once, on every way.
func TestVerifyReferences(t *testing.T) {
	const fine = `func raw_tp f "f"
b0:
  v0 = const 2
  v1 = helper task_from_pid, v0
  nullcheck v1 → b1 else → b2
b1:
  v2 = nonnull v1
  v3 = load.u8 v2, 1024
  helper task_release, v2
  → b3(v3)
b2:
  → b3(v0)
b3(v4: scalar):
  ret v4
`
	for _, c := range []struct{ old, new, want string }{
		{"", "", ""},
		{"  helper task_release, v2\n  → b3(v3)", "  ret v3", "a reference of task_from_pid is not given back"},
		{"  helper task_release, v2\n", "", "open on one way only"},
		{"  → b3(v3)", "  v9 = load.u8 v2, 8\n  → b3(v9)", "load of a reference of task_from_pid that is already gone"},
		{"  → b3(v3)", "  helper task_release, v2\n  → b3(v3)", "already gone"},
		{"task_release, v2", "task_release, v1", "which may be null"},
	} {
		p, err := Parse(source.NewFile("x.ir", strings.Replace(fine, c.old, c.new, 1)))
		if err != nil {
			t.Fatal(err)
		}
		if p.String() != strings.Replace(fine, c.old, c.new, 1) {
			t.Errorf("printed differently:\n%s", p)
		}
		switch err := VerifyAll(p); {
		case c.want == "" && err != nil:
			t.Error(err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: got %v", c.want, err)
		}
	}
}
