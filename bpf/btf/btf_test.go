package btf

import (
	"encoding/binary"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/slopebpf/slope/bpf/bpftest"
	"github.com/slopebpf/slope/lang/types"
)

func TestMain(m *testing.M) { bpftest.Main(m) }

func open(t testing.TB) *Index {
	t.Helper()
	ix, err := Open()
	if errors.Is(err, ErrNoBTF) {
		bpftest.Require(t, err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ix.Close() })
	return ix
}

func TestTaskStruct(t *testing.T) {
	ix := open(t)
	task, err := ix.Struct("task_struct")
	if err != nil {
		t.Fatal(err)
	}
	if task.Size < 1000 || task.Name != "task_struct" {
		t.Fatalf("got %s of %d bytes", task.Name, task.Size)
	}
	comm, ok := task.Field("comm")
	if !ok || comm.Type.Kind != types.Array || comm.Type.Elem != types.Int8 || comm.Type.Len != 16 || comm.Type.Name != "" {
		t.Fatalf("comm: got %+v", comm)
	}
	pid, ok := task.Field("pid")
	if !ok || !pid.Type.Equal(types.Int32) || pid.Offset == 0 {
		t.Fatalf("pid: got %+v", pid)
	}
	parent, ok := task.Field("real_parent")
	if !ok || parent.Type.Kind != types.Pointer || parent.Type.User || parent.Type.Elem.Name != "task_struct" {
		t.Fatalf("real_parent: got %+v", parent)
	}
	again, ok := parent.Type.Elem.Field("pid")
	if !ok || again.Offset != pid.Offset {
		t.Fatalf("real_parent->pid: got %+v", again)
	}
	bits, ok := task.Field("in_execve")
	if !ok || bits.BitSize != 1 || bits.Type.Size != 4 || bits.BitOff > 31 || bits.Offset%4 != 0 {
		t.Fatalf("in_execve: got %+v", bits)
	}
	if mm, ok := task.Field("mm"); !ok || mm.Type.Elem.Name != "mm_struct" {
		t.Fatalf("mm: got %+v", mm)
	} else if pgd, ok := mm.Type.Elem.Field("pgd"); !ok || pgd.Offset == 0 { // inside an anonymous struct
		t.Fatalf("mm->pgd: got %+v", pgd)
	}
}

func TestTypedefOfAnonymousStruct(t *testing.T) {
	ix := open(t)
	s, err := ix.Struct("atomic64_t")
	if err != nil {
		t.Fatal(err)
	}
	if f, ok := s.Field("counter"); !ok || !f.Type.Equal(types.Int64) {
		t.Fatalf("counter: got %+v", f)
	}
}

// TestDefine compares with what the headers of the kernel say of structs that do not change.
func TestDefine(t *testing.T) {
	ix := open(t)
	for _, c := range []struct{ keyword, name, want string }{
		{"struct", "iphdr", `struct iphdr {
	__u8 ihl: 4;
	__u8 version: 4;
	__u8 tos;
	__be16 tot_len;
	__be16 id;
	__be16 frag_off;
	__u8 ttl;
	__u8 protocol;
	__sum16 check;
`},
		{"struct", "in6_addr", "struct in6_addr {\n\tunion {\n\t\t__u8 u6_addr8[16];\n\t\t__be16 u6_addr16[8];\n\t\t__be32 u6_addr32[4];\n\t} in6_u;\n};"},
		{"struct", "callback_head", "struct callback_head {\n\tstruct callback_head *next;\n\tvoid (*func)(struct callback_head *);\n};"},
		{"enum", "pid_type", "enum pid_type {\n\tPIDTYPE_PID = 0,\n\tPIDTYPE_TGID = 1,\n\tPIDTYPE_PGID = 2,\n\tPIDTYPE_SID = 3,\n\tPIDTYPE_MAX = 4,\n};"},
	} {
		lines, err := ix.Define(c.keyword, c.name)
		if got := strings.Join(lines, "\n"); err != nil || !strings.HasPrefix(got, c.want) {
			t.Errorf("%s %s: got\n%s\n%v\nwant\n%s", c.keyword, c.name, got, err, c.want)
		}
	}
}

func TestRawTracepoint(t *testing.T) {
	ix := open(t)
	args, err := ix.RawTracepointArgs("sched_switch")
	if err != nil {
		t.Fatal(err)
	}
	if len(args) < 3 || args[0].Name != "preempt" || args[0].Type.Kind != types.Bool || args[0].Offset != 0 {
		t.Fatalf("got %+v", args)
	}
	if args[2].Name != "next" || args[2].Type.Elem.Name != "task_struct" || args[2].Offset != 16 {
		t.Fatalf("got %+v", args[2])
	}
	if _, ok := args[2].Type.Elem.Field("comm"); !ok {
		t.Fatal("next->comm not found")
	}
	if id, err := ix.RawTracepoint("sys_enter"); err != nil || id == 0 {
		t.Fatal(id, err)
	}
	if _, err := ix.RawTracepoint("no_such_event"); !errors.Is(err, ErrNotFound) {
		t.Fatal(err)
	}
}

func TestFuncAndConstant(t *testing.T) {
	ix := open(t)
	f, err := ix.Func("vfs_read")
	if err != nil {
		t.Fatal(err)
	}
	if f.ID == 0 || len(f.Args) != 4 || f.Args[0].Name != "file" || f.Args[1].Type.Kind != types.Pointer || !f.Result.Equal(types.Int64) {
		t.Fatalf("got %+v", f)
	}
	if f.Variadic {
		t.Error("vfs_read is variadic")
	}
	if f, err := ix.Func("seq_printf"); err != nil || !f.Variadic {
		t.Errorf("seq_printf is not variadic: %v", err)
	}
	if v, err := ix.Constant("TCP_LISTEN"); err != nil || v != 10 {
		t.Fatal(v, err)
	}
	if v, err := ix.Constant("ZONE_NO_SUCH"); !errors.Is(err, ErrNotFound) {
		t.Fatal(v, err)
	}
}

func TestEach(t *testing.T) {
	ix := open(t)
	n := 0
	ix.Each(KindTypedef, func(id uint32, name string) bool {
		n++
		if got, ok := ix.record(id); !ok || ix.name(got.name) != name {
			t.Fatalf("type %d: got %v, want %s", id, got, name)
		}
		return true
	})
	if n < 1000 {
		t.Fatalf("got %d typedefs", n)
	}
}

// blob builds BTF from types and strings.
func blob(strs string, words ...uint32) []byte {
	b := binary.LittleEndian.AppendUint16(nil, 0xeb9f)
	b = append(b, 1, 0)
	for _, w := range []uint32{24, 0, uint32(4 * len(words)), uint32(4 * len(words)), uint32(len(strs))} {
		b = binary.LittleEndian.AppendUint32(b, w)
	}
	for _, w := range words {
		b = binary.LittleEndian.AppendUint32(b, w)
	}
	return append(b, strs...)
}

func kind(k Kind, vlen int, flag uint32) uint32 { return flag<<31 | uint32(k)<<24 | uint32(vlen) }

// loops is a blob in which everything refers to itself.
func loops() []byte {
	return blob("\x00s\x00p\x00btf_trace_x\x00",
		1, kind(KindStruct, 3, 0), 8, 0, 1, 0, 3, 2, 0, 3, 3, 0, // struct s { struct s; p *p; td p; }
		0, kind(KindPtr, 0, 0), 2, // pointer to itself
		3, kind(KindTypedef, 0, 0), 3, // typedef of itself
		5, kind(KindTypedef, 0, 0), 2)
}

func TestMalformed(t *testing.T) {
	ix, err := Parse(loops())
	if err != nil {
		t.Fatal(err)
	}
	s, err := ix.Struct("s")
	if err != nil {
		t.Fatal(err)
	}
	if len(s.Layout.Fields()) == 0 {
		t.Fatal("no fields")
	}
	if _, err := ix.RawTracepointArgs("x"); !errors.Is(err, ErrMalformed) {
		t.Fatal(err)
	}
	for _, raw := range [][]byte{nil, make([]byte, 24), blob("x")} {
		if _, err := Parse(raw); !errors.Is(err, ErrMalformed) {
			t.Fatalf("%x: got %v", raw, err)
		}
	}
}

func TestBitFields(t *testing.T) {
	ix, err := Parse(blob("\x00s\x00int\x00a\x00b\x00c\x00",
		3, kind(KindInt, 0, 0), 4, 1<<24|32,
		1, kind(KindStruct, 3, 1), 8,
		7, 1, 3<<24|1, // int a:3 at bit 1
		9, 1, 5<<24|33, // int b:5 at bit 33
		11, 1, 8<<24|28)) // int c:8 at bit 28 crosses the unit
	if err != nil {
		t.Fatal(err)
	}
	s, err := ix.Struct("s")
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []types.Field{{Offset: 0, BitOff: 1, BitSize: 3}, {Offset: 4, BitOff: 1, BitSize: 5}, {Offset: 3, BitOff: 4, BitSize: 8}} {
		if got := s.Layout.Fields()[i]; got.Offset != want.Offset || got.BitOff != want.BitOff || got.BitSize != want.BitSize {
			t.Errorf("field %d: got %+v, want %+v", i, got, want)
		}
	}
}

// split is a blob of a module over that of TestSplit: struct t { struct s in; int z; }, a tracepoint and a function, whose
// strings have no empty one before the first.
func split() []byte {
	const strs = 15 // bytes of the kernel's
	return blob("t\x00in\x00btf_trace_ev\x00__bpf_trace_ev\x00",
		strs, kind(KindStruct, 2, 0), 12, strs+2, 2, 0, 3, 1, 64, // id 3; z is a string of the kernel's
		0, kind(KindFuncProto, 2, 0), 0, 0, 0, 0, 5, // id 4: (void *, struct t *)
		0, kind(KindPtr, 0, 0), 3, // id 5
		strs+5, kind(KindTypedef, 0, 0), 7, // id 6
		0, kind(KindPtr, 0, 0), 4) // id 7
}

func TestSplit(t *testing.T) {
	base, err := Parse(blob("\x00s\x00z\x00int\x00other\x00"[:15],
		5, kind(KindInt, 0, 0), 4, 1<<24|32, // id 1
		1, kind(KindStruct, 1, 0), 8, 3, 1, 32)) // id 2: struct s { int z; }, at 4
	if err != nil {
		t.Fatal(err)
	}
	ix, err := ParseSplit(split(), base)
	if err != nil {
		t.Fatal(err)
	}
	s, err := ix.Named("struct", "t")
	if err != nil {
		t.Fatal(err)
	}
	fields := s.Layout.Fields()
	if len(fields) != 2 || fields[0].Name != "in" || fields[0].Type.Name != "s" || fields[1].Name != "z" || fields[1].Offset != 8 || !fields[1].Type.Equal(types.Int32) {
		t.Errorf("got %+v", fields)
	}
	if in := fields[0].Type.Layout.Fields(); len(in) != 1 || in[0].Name != "z" || in[0].Offset != 4 {
		t.Errorf("got %+v", in)
	}
	id, args, err := ix.RawTracepointTarget("ev")
	if err != nil || id != 6 || len(args) != 1 || args[0].Type.Kind != types.Pointer || args[0].Type.Elem.Name != "t" {
		t.Errorf("got %d %+v, %v", id, args, err)
	}
	if _, err := ix.Named("struct", "s"); !errors.Is(err, ErrNotFound) {
		t.Errorf("a struct of the kernel: %v", err)
	}
}

// TestFunctionWords has an argument that is a struct, which takes two words, and one that trampolines never take.
func TestFunctionWords(t *testing.T) {
	ix, err := Parse(blob("\x00f\x00g\x00s\x00u\x00",
		0, kind(KindInt, 0, 0), 4, 1<<24|32, // id 1
		5, kind(KindStruct, 0, 0), 16, // id 2
		7, kind(KindUnion, 0, 0), 8, // id 3
		0, kind(KindFuncProto, 3, 0), 1, 0, 2, 0, 1, 0, 1, // id 4: int (struct s, int, int)
		1, kind(KindFunc, 0, 0), 4, // id 5
		0, kind(KindFuncProto, 1, 0), 0, 0, 3, // id 6: void (union u)
		3, kind(KindFunc, 0, 0), 6)) // id 7
	if err != nil {
		t.Fatal(err)
	}
	f, err := ix.Func("f")
	if err != nil {
		t.Fatal(err)
	}
	if len(f.Args) != 3 || f.Args[1].Offset != 16 || f.Args[2].Offset != 24 || f.Words != 4 || f.Variadic {
		t.Errorf("got %+v", f)
	}
	g, err := ix.Func("g")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		take Trampolines
		of   *Function
		why  string
	}{
		{Trampolines{Words: 6, Structs: true}, f, ""},
		{Trampolines{Words: 6}, f, "takes a struct by value, which trampolines know since Linux 6.1"},
		{Trampolines{Words: 3, Structs: true}, f, "takes more than 3 arguments, which trampolines know since Linux 6.6"},
		{Trampolines{Words: 12, Structs: true}, g, "takes a struct of more than 16 bytes, a union or a floating-point number by value"},
	} {
		if why := c.take.Refuse(c.of); why != c.why {
			t.Errorf("%+v: %q, want %q", c.take, why, c.why)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(loops())
	f.Add(blob("\x00s\x00", 1, kind(KindStruct, 1, 0), 8, 0, 1, 0))
	f.Add(split())
	base, err := Parse(loops())
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		if ix, err := ParseSplit(raw, base); err == nil {
			for id := range uint32(20) {
				walk(ix.Type(id), 0)
			}
			ix.RawTracepointArgs("ev")
			ix.Func("s")
		}
		ix, err := Parse(raw)
		if err != nil {
			return
		}
		for id := range uint32(20) {
			walk(ix.Type(id), 0)
		}
		if s, err := ix.Struct("s"); err == nil {
			walk(s, 0)
		}
		ix.RawTracepointArgs("x")
		ix.Func("s")
		ix.Constant("s")
		ix.Define("struct", "s")
		ix.Define("enum", "s")
	})
}

func walk(t *types.Type, depth int) {
	if t == nil || depth > 3 {
		return
	}
	if t.Kind == types.Struct && t.Layout != nil {
		for i, f := range t.Layout.Fields() {
			if i < 10 {
				walk(f.Type, depth+1)
			}
		}
	}
	walk(t.Elem, depth+1)
}

func BenchmarkLookup(b *testing.B) {
	ix := open(b)
	b.Run("late func", func(b *testing.B) {
		for b.Loop() {
			if _, err := ix.Find("vfs_read", KindFunc); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("early struct", func(b *testing.B) {
		for b.Loop() {
			if _, err := ix.Find("task_struct", KindStruct); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("missing", func(b *testing.B) {
		for b.Loop() {
			ix.Find("no_such_type_at_all", KindFunc)
		}
	})
	b.Run("task_struct fields, cold", func(b *testing.B) {
		for b.Loop() {
			ix, _ := Open()
			s, _ := ix.Struct("task_struct")
			s.Layout.Fields()
			ix.Close()
		}
	})
	b.Run("sched_switch args, cold", func(b *testing.B) {
		for b.Loop() {
			ix, _ := Open()
			ix.RawTracepointArgs("sched_switch")
			ix.Close()
		}
	})
}

// TestKernelFunction: where the types say which functions are for programs it is one of these, otherwise any function.
func TestKernelFunction(t *testing.T) {
	const strs = "\x00f\x00g\x00bpf_kfunc\x00other\x00"
	untagged := []uint32{
		0, kind(KindFuncProto, 0, 0), 0, // id 1
		1, kind(KindFunc, 0, 0), 1, // id 2: f
		3, kind(KindFunc, 0, 0), 1, // id 3: g
		15, kind(KindDeclTag, 0, 0), 3, ^uint32(0), // id 4: another tag of g
	}
	tagged := append(slices.Clone(untagged), 5, kind(KindDeclTag, 0, 0), 2, ^uint32(0))
	for _, c := range []struct {
		words []uint32
		name  string
		want  uint32
	}{{untagged, "f", 2}, {untagged, "g", 3}, {untagged, "other", 0}, {tagged, "f", 2}, {tagged, "g", 0}} {
		ix, err := Parse(blob(strs, c.words...))
		if err != nil {
			t.Fatal(err)
		}
		id, err := ix.KernelFunction(c.name)
		if id != c.want || (c.want == 0) != errors.Is(err, ErrNotFound) {
			t.Errorf("%s: got %d, %v, want %d", c.name, id, err, c.want)
		}
	}
}
