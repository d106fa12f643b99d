package backend

import (
	"encoding/binary"
	"strings"
	"testing"
	"unsafe"

	"github.com/slopebpf/slope/compiler/ir"
)

// TestMemory runs the memory operations: clearing and copying of every size class, strings with a size that is only
// known at run time, faults.
func TestMemory(t *testing.T) {
	needKernel(t)
	p := parse(t, `map out array key 4 value 8192 entries 1
map big array key 4 value 8192 entries 1
func raw_tp mem ""
slot s0 64 str
slot s1 480 more
b0:
  v0 = ctx
  v1 = mapvalue big
  v2 = mapvalue out
  zero v1, 0, 4096
  v3 = const -1
  store.8 v1, 4096, v3
  zero v2, 0, 1000
  copy v2, 1008, v1, 4104
  v4 = slot s0
  zero v4, 0, 64
  v5 = load.u8 v0, 0
  v6 = load.u8 v0, 8
  v7 = readstr.user v4, v5, v6, 64
  store.8 v2, 0, v7
  copy v2, 8, v4, 64
  v8 = const 16
  v9 = read.user v4, v8, 16
  store.8 v2, 72, v9
  copy v2, 80, v4, 24
  bytes v2, 104, "hello, world\x00\x00\x00\x00"
  v10 = slot s1
  zero v10, 0, 480
  v11 = load.u8 v10, 472
  store.2 v2, 120, v3
  v12 = mapvalue big
  v13 = const 4096
  v14 = offset v12, 8
  store.8 v14, 8000, v13
  ret v11
`)
	for name, feat := range probed(t) {
		t.Run(name, func(t *testing.T) {
			l := loadFunc(t, p, p.Funcs[0], feat)
			text := []byte("the quick brown fox jumps over the lazy dog\x00")
			for _, size := range []uint64{1, 5, 44, 64, 1 << 40} {
				l.run(t, uint64(uintptr(unsafe.Pointer(&text[0]))), size)
				out := l.words(t, "out")
				raw := make([]byte, 8192)
				for i, w := range out {
					binary.NativeEndian.PutUint64(raw[8*i:], w)
				}
				n := min(int(min(size, 64)), len(text))
				if int(out[0]) != n || string(raw[8:8+n]) != string(text[:n-1])+"\x00" {
					t.Errorf("size %d: got %d, %q", size, out[0], raw[8:72])
				}
				if int64(out[9]) != -14 || out[10] != 0 || out[11] != 0 {
					t.Errorf("fault: got %d, %x %x", int64(out[9]), out[10], out[11])
				}
				if string(raw[104:116]) != "hello, world" || raw[119] != 0 || raw[120] != 0xff || raw[121] != 0xff || raw[122] != 0 {
					t.Errorf("bytes: got %q", raw[104:124])
				}
				for i := 16; i < 639; i++ {
					want := uint64(0)
					if i == 638 {
						want = 1<<64 - 1
					}
					if out[i] != want && i != 125 {
						t.Errorf("word %d: got %#x, want %#x", i, out[i], want)
					}
				}
				if got := l.words(t, "big"); got[1001] != 4096 {
					t.Errorf("offset: got %d", got[1001])
				}
			}
		})
	}
}

const preemptible = `map out array key 4 value 8 entries 1
health losses array key 4 value 16 entries 1
counter 0 map_full
counter 1 scratch_busy
func raw_tp p "" preemptible
slot s0 800 big
b0:
  v0 = slot s0
  v1 = const 7
  store.8 v0, 792, v1
  v2 = load.u8 v0, 792
  v3 = mapvalue out
  store.8 v3, 0, v2
  ret v2
`

// TestScratch takes the areas of a preemptible program away one by one.
func TestScratch(t *testing.T) {
	needKernel(t)
	feat := probed(t)["v3"]
	if !feat.AtomicFetch {
		t.Skip("the kernel feature atomic compare-and-exchange is missing")
	}
	p := parse(t, preemptible)
	l := loadFunc(t, p, p.Funcs[0], feat)
	scratch, losses := l.maps["scratch_p"], l.maps["losses"]
	var values [][]byte
	area := l.code.Scratch.ValueSize / scratchAreas
	for taken := range scratchAreas + 1 {
		if taken > 0 {
			for _, v := range values {
				binary.NativeEndian.PutUint64(v[(taken-1)*area:], uint64(taken))
			}
			if err := scratch.Put(uint32(0), values); err != nil {
				t.Fatal(err)
			}
		}
		want := uint32(7)
		if taken == scratchAreas {
			want = 0
		}
		if got := l.run(t); got != want {
			t.Errorf("%d taken: got %d, want %d", taken, got, want)
		}
		if err := scratch.Lookup(uint32(0), &values); err != nil {
			t.Fatal(err)
		}
		for _, v := range values {
			for i := range scratchAreas {
				word := binary.NativeEndian.Uint64(v[i*area:])
				if want := uint64(i+1) * map[bool]uint64{true: 1}[i < taken]; word != want {
					t.Errorf("%d taken: the word of area %d is %d, want %d", taken, i, word, want)
				}
			}
		}
	}
	var counts [2]uint64
	if err := losses.Lookup(uint32(0), &counts); err != nil {
		t.Fatal(err)
	}
	if counts[1] != 1 {
		t.Errorf("counted %d losses, want 1", counts[1])
	}
}

// TestNoAtomics: what an old kernel cannot do is an error that names it.
func TestNoAtomics(t *testing.T) {
	p := parse(t, "map m array key 4 value 8 entries 1\nfunc raw_tp f \"\"\nb0:\n v0 = mapvalue m\n v1 = const 1\n v2 = fetchadd v0, 0, v1\n ret v2\n")
	if _, err := Compile(p, p.Funcs[0], Features{}); err == nil || !strings.Contains(err.Error(), "5.12") {
		t.Errorf("got %v", err)
	}
}

// TestStackLimit: more values alive than the stack holds is an error, not a panic.
func TestStackLimit(t *testing.T) {
	var b strings.Builder
	b.WriteString("map m array key 4 value 8 entries 1\nfunc raw_tp f \"\"\nb0:\n v0 = helper get_prandom_u32\n")
	bld := parse(t, b.String()+" ret v0\n")
	f := bld.Funcs[0]
	f.Blocks[0].Term = ir.Term{}
	ed := ir.Edit(bld, f, f.Blocks[0])
	var all []*ir.Value
	for range 100 {
		all = append(all, ed.Help(ir.HelperRandom))
	}
	sum := ed.Const(0)
	for _, v := range all {
		sum = ed.Bin(ir.OpAdd, ed.Bin(ir.OpMul, sum, ed.Const(3)), v)
	}
	ed.Ret(sum)
	if _, err := Compile(bld, f, Features{}); err == nil || !strings.Contains(err.Error(), "bytes of stack") {
		t.Errorf("got %v", err)
	}
}

// TestAtomics checks what is in memory and what is returned.
func TestAtomics(t *testing.T) {
	feat := probed(t)["v3"]
	if !feat.AtomicFetch {
		t.Skip("the kernel feature atomic fetch-and-add is missing")
	}
	p := parse(t, `map out array key 4 value 64 entries 1
func raw_tp atomics ""
b0:
  v0 = ctx
  v1 = load.u8 v0, 0
  v2 = mapvalue out
  atomic v2, 0, v1
  v3 = fetchadd v2, 8, v1
  v4 = fetchadd v2, 8, v1
  store.8 v2, 16, v3
  store.8 v2, 24, v4
  v5 = const 5
  v6 = cmpxchg v2, 32, v1, v5
  v7 = cmpxchg v2, 40, v5, v1
  store.8 v2, 48, v6
  store.8 v2, 56, v7
  ret v1
`)
	l := loadFunc(t, p, p.Funcs[0], feat)
	if err := l.maps["out"].Put(uint32(0), []uint64{10, 20, 0, 0, 3, 3, 0, 0}); err != nil {
		t.Fatal(err)
	}
	l.run(t, 3)
	want := []uint64{13, 26, 20, 23, 5, 3, 3, 3}
	for i, got := range l.words(t, "out") {
		if got != want[i] {
			t.Errorf("word %d: got %d, want %d", i, got, want[i])
		}
	}
}

// TestSlotsShare: slots that are never needed at the same time share stack bytes, so nothing goes to scratch.
func TestSlotsShare(t *testing.T) {
	p := parse(t, `map h hash key 8 value 400 entries 4
func raw_tp f ""
slot s0 8 key
slot s1 400 first
slot s2 400 second
b0:
  v0 = const 1
  v1 = slot s0
  store.8 v1, 0, v0
  v2 = slot s1
  zero v2, 0, 400
  v3 = update h, v1, v2, 0
  v4 = slot s2
  zero v4, 0, 400
  v5 = update h, v1, v4, 0
  ret v0
`)
	code, err := Compile(p, p.Funcs[0], Features{})
	if err != nil {
		t.Fatal(err)
	}
	if code.Stack != 408 || code.Scratch != nil {
		t.Errorf("stack %d, scratch %v", code.Stack, code.Scratch)
	}
}

// TestSpans: every instruction leads back to the line it comes from.
func TestSpans(t *testing.T) {
	p := parse(t, preemptible)
	code, err := Compile(p, p.Funcs[0], Features{AtomicFetch: true})
	if err != nil {
		t.Fatal(err)
	}
	at := 0
	for i := range code.Insns {
		ins := &code.Insns[i]
		text := p.Source.Slice(code.Spans[at])
		want := ""
		switch {
		case ins.Offset == 800 && ins.Constant == 7:
			want = "store.8 v0, 792, v1"
		case ins.Reference() == "out":
			want = "store.8 v3, 0, v2"
		case ins.Reference() == "scratch_p", ins.Reference() == "losses":
			want = p.Source.Slice(p.Funcs[0].Span)
		}
		if want != "" && text != want {
			t.Errorf("instruction %d: got %q, want %q", i, text, want)
		}
		at += int(ins.Width())
	}
	if at != len(code.Spans) {
		t.Errorf("%d spans for %d slots", len(code.Spans), at)
	}
}
