package symbols

import (
	"encoding/binary"
	"reflect"
	"testing"

	"github.com/slopebpf/slope/lang/types"
)

// usdtBytes is a note as an assembler writes it.
func usdtBytes(pc, base, semaphore uint64, texts string) []byte {
	le := binary.LittleEndian
	var out []byte
	for _, n := range []uint32{8, uint32(24 + len(texts)), 3} {
		out = le.AppendUint32(out, n)
	}
	out = append(out, "stapsdt\x00"...)
	for _, n := range []uint64{pc, base, semaphore} {
		out = le.AppendUint64(out, n)
	}
	out = append(out, texts...)
	for len(out)%4 != 0 {
		out = append(out, 0)
	}
	return out
}

func TestParseUSDT(t *testing.T) {
	foreign := []byte("\x04\x00\x00\x00\x05\x00\x00\x00\x01\x00\x00\x00GNU\x00hello\x00\x00\x00")
	section := append(usdtBytes(0x10, 0x20, 0x30, "p\x00n\x00-4@%eax\x00"), foreign...)
	section = append(section, usdtBytes(0x11, 0, 0, "pp\x00nn\x00\x00")...)
	section = append(section, usdtBytes(0x12, 0, 0, "no end")...)
	want := []usdtNote{{0x10, 0x20, 0x30, "p", "n", "-4@%eax"}, {0x11, 0, 0, "pp", "nn", ""}}
	if got := parseUSDT(section); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v", got)
	}
	if got := parseUSDT(section[:len(section)-60]); len(got) > 2 {
		t.Errorf("of a cut section got %+v", got)
	}
}

func TestParseOperand(t *testing.T) {
	symbol := func(name string) (int64, bool) { return 0x1000, name == "counter" }
	op := func(k types.OperandKind, size int, signed bool, value int64, base, index, scale, shift int) types.Operand {
		return types.Operand{Kind: k, Size: size, Signed: signed, Value: value, Base: base, Index: index, Scale: scale, Shift: shift}
	}
	for text, want := range map[string]types.Operand{
		"8@%rax":                 op(types.RegisterOperand, 8, false, 0, 10, -1, 0, 0),
		"-4@%r9d":                op(types.RegisterOperand, 4, true, 0, 8, -1, 0, 0),
		"2@%r10w":                op(types.RegisterOperand, 2, false, 0, 7, -1, 0, 0),
		"1@%sil":                 op(types.RegisterOperand, 1, false, 0, 13, -1, 0, 0),
		"1@%bl":                  op(types.RegisterOperand, 1, false, 0, 5, -1, 0, 0),
		"1@%ch":                  op(types.RegisterOperand, 1, false, 0, 11, -1, 0, 8),
		"%ebp":                   op(types.RegisterOperand, 4, false, 0, 4, -1, 0, 0),
		"8@%rsp":                 op(types.RegisterOperand, 8, false, 0, 19, -1, 0, 0),
		"4@$5":                   op(types.ConstantOperand, 4, false, 5, -1, -1, 0, 0),
		"-8@$-0x10":              op(types.ConstantOperand, 8, true, -16, -1, -1, 0, 0),
		"8@$0xffffffffffffffff":  op(types.ConstantOperand, 8, false, -1, -1, -1, 0, 0),
		"-4@-20(%rbp)":           op(types.MemoryOperand, 4, true, -20, 4, -1, 0, 0),
		"8@(%rdi)":               op(types.MemoryOperand, 8, false, 0, 14, -1, 0, 0),
		"4@(%rax,%rbx,4)":        op(types.MemoryOperand, 4, false, 0, 10, 5, 4, 0),
		"4@8(%rax,%r15)":         op(types.MemoryOperand, 4, false, 8, 10, 0, 1, 0),
		"4@16+-4(,%r11,8)":       op(types.MemoryOperand, 4, false, 12, -1, 6, 8, 0),
		"8@counter(%rip)":        op(types.MemoryOperand, 8, false, 0x1000, 16, -1, 0, 0),
		"8@counter+8(%rip)":      op(types.MemoryOperand, 8, false, 0x1008, 16, -1, 0, 0),
		"8@-8+counter(%rip)":     op(types.MemoryOperand, 8, false, 0xff8, 16, -1, 0, 0),
		"8f@%xmm0":               {},
		"8@%xmm0":                {},
		"16@%rax":                {},
		"8@other(%rip)":          {},
		"8@counter(%rax)":        {},
		"8@%fs:16(%rax)":         {},
		"8@(%rax,%rbx,3)":        {},
		"8@(%eax)":               {},
		"8@()":                   {},
		"8@":                     {},
		"@":                      {},
		"8@$":                    {},
		"8@-(%rax)":              {},
		"-9223372036854775808@$": {},
	} {
		got := parseOperand(text, symbol)
		if got.Text != text {
			t.Errorf("%s: got text %q", text, got.Text)
		}
		if got.Text = ""; got != want {
			t.Errorf("%s: got %+v, want %+v", text, got, want)
		}
	}
}

func FuzzUSDT(f *testing.F) {
	f.Add(usdtBytes(1, 2, 3, "p\x00n\x008@%rax -4@-20(%rbp) 4@$5 8@sym+4(%rip) 4@(%rax,%rbx,4)\x00"))
	f.Add([]byte("\x08\x00\x00\x00\xff\xff\xff\xff\x03\x00\x00\x00stapsdt\x00"))
	f.Fuzz(func(t *testing.T, notes []byte) {
		for _, n := range parseUSDT(notes) {
			if n.provider == "" || n.name == "" {
				t.Errorf("a probe without a name: %+v", n)
			}
			o := parseOperand(n.args, func(string) (int64, bool) { return 1, true })
			if o.Kind == types.UnreadableOperand {
				continue
			}
			if o.Base > 20 || o.Index > 20 || o.Size != 1 && o.Size != 2 && o.Size != 4 && o.Size != 8 {
				t.Errorf("%q: %+v", n.args, o)
			}
			if o.Kind == types.MemoryOperand && o.Base < 0 && o.Index < 0 || o.Kind == types.RegisterOperand && o.Base < 0 {
				t.Errorf("%q has no register: %+v", n.args, o)
			}
		}
	})
}
