package events

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/slopebpf/slope/compiler/ir"
	"github.com/slopebpf/slope/lang/types"
	"github.com/slopebpf/slope/runtime/export"
)

type recorder struct{ bytes.Buffer }

func (r *recorder) PrintMap(m *ir.Map, top, div int64) {
	fmt.Fprintf(r, "print %s %d %d;", m.Name, top, div)
}
func (r *recorder) PrintEntry(m *ir.Map, key []byte) {
	fmt.Fprintf(r, "print %s[%x];", m.Name, key)
}
func (r *recorder) Clear(m *ir.Map)                  { fmt.Fprintf(r, "clear %s;", m.Name) }
func (r *recorder) Zero(m *ir.Map)                   { fmt.Fprintf(r, "zero %s;", m.Name) }
func (r *recorder) Exit(status int)                  { fmt.Fprintf(r, "exit %d;", status) }
func (r *recorder) Note(pid int)                     { fmt.Fprintf(r, "note %d;", pid) }
func (r *recorder) Unwatch(address uint64)           { fmt.Fprintf(r, "unwatch %d;", address) }
func (r *recorder) Cat(path string)                  { fmt.Fprintf(r, "cat %s;", path) }
func (r *recorder) System(command string)            { fmt.Fprintf(r, "system %s;", command) }
func (r *recorder) Message(e *ir.Event, text string) { fmt.Fprintf(r, "%s %s;", e.Kind, text) }

// arg is a value and its memory.
type arg struct {
	t   *types.Type
	raw []byte
}

func num(t *types.Type, n int64) arg {
	return arg{t, binary.LittleEndian.AppendUint64(nil, uint64(n))}
}

func str(size int, s string) arg {
	return arg{types.StringOf(size), append([]byte(s), make([]byte, size-len(s))...)}
}

// record lays out an event and its record.
func record(ev *ir.Event, args ...arg) []byte {
	b := binary.LittleEndian.AppendUint64(nil, uint64(ev.ID))
	for _, a := range args {
		ev.Args = append(ev.Args, ir.EventArg{Type: a.t, Offset: len(b)})
		b = append(b, a.raw...)
	}
	ev.Size = len(b)
	return b
}

func handler(t testing.TB, out *recorder, events ...*ir.Event) *Handler {
	v := export.Values{MaxStrlen: 64}
	h, err := New(events, Options{Sink: export.NewText(export.TextOptions{Out: out, Values: v}), Host: out, Values: v,
		Now: func() time.Time { return time.Date(2026, 11, 22, 0, 46, 6, 0, time.UTC) }})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func TestPrintf(t *testing.T) {
	i64 := func(n int64) arg { return num(types.Int64, n) }
	long := "0123456789012345678901234567890123456789012345678901234567890123"
	for _, c := range []struct {
		format string
		args   []arg
		want   string
	}{
		{"%d %u %ld", []arg{i64(4294967297), i64(4294967297), i64(4294967297)}, "1 1 4294967297"},
		{"%p", []arg{i64(16)}, "0x10"},
		{"%s", []arg{{types.TupleOf(types.Int64, types.Int64), append(num(types.Int64, 1).raw, num(types.Int64, 2).raw...)}}, "(1, 2)"},
		{"%s %s %s", []arg{num(types.Boolean, 1), num(types.Boolean, 0), i64(-7)}, "true false -7"},
		{"%d%%", []arg{num(types.Boolean, 1)}, "1%"},
		{"%d %u %x", []arg{i64(-1), i64(-1), i64(-1)}, "-1 4294967295 ffffffff"},
		{"%lld %llu %lx", []arg{i64(-1), i64(-1), i64(-1)}, "-1 18446744073709551615 ffffffffffffffff"},
		{"%hhd %hd %hhu %hhx", []arg{i64(511), i64(65535), i64(511), i64(-1)}, "-1 -1 255 ff"},
		{"[%5d|%-5d|%05d|%+d|% d]", []arg{i64(42), i64(42), i64(42), i64(42), i64(42)}, "[   42|42   |00042|+42| 42]"},
		{"[%05d|%-05d|%5.3d|%05.3d|%.0d|%+.3d]", []arg{i64(-42), i64(42), i64(7), i64(7), i64(0), i64(7)}, "[-0042|42   |  007|  007||+007]"},
		{"%#x %#X %#o %#x %#o %08x %#06x", []arg{i64(255), i64(255), i64(8), i64(0), i64(0), i64(48879), i64(15)}, "0xff 0XFF 010 0 0 0000beef 0x000f"},
		{"%X %o %i", []arg{i64(48879), i64(8), i64(-3)}, "BEEF 10 -3"},
		{"[%c|%3c|%-3c]", []arg{i64('a'), i64('b'), i64('c')}, "[a|  b|c  ]"},
		{"[%s|%8s|%-8s|%.2s|%6.2s]", []arg{str(8, "abc"), str(8, "abc"), str(8, "abc"), str(8, "abc"), str(8, "abc")}, "[abc|     abc|abc     |ab|    ab]"},
		{"[%*d|%-*d|%.*s|%*s]", []arg{i64(5), i64(42), i64(5), i64(42), i64(2), str(8, "abc"), i64(-5), str(8, "abc")}, "[   42|42   |ab|abc  ]"},
		{"[%.*s]", []arg{i64(-1), str(8, "abc")}, "[abc]"},
		{"%s", []arg{str(64, long[:63])}, long[:63] + ".."},
		{"%s", []arg{str(64, long[:62])}, long[:62]},
		{"%r %rx %rh", []arg{buffer("a\n\xff"), buffer("a\n\xff"), buffer("\n\xfe")}, `a\x0a\xff \x61\x0a\xff 0a fe`},
		{"%r", []arg{str(8, "ab")}, "ab"},
		{"%zd %jd %td", []arg{i64(1 << 40), i64(1 << 40), i64(1 << 40)}, "1099511627776 1099511627776 1099511627776"},
		{"%ld", []arg{i64(-1 << 63)}, "-9223372036854775808"},
		{"plain\n", nil, "plain\n"},
	} {
		ev := &ir.Event{Kind: ir.EventPrintf, Format: c.format}
		rec := record(ev, c.args...)
		var out recorder
		h := handler(t, &out, ev)
		if err := h.Handle(rec); err != nil || out.String() != c.want {
			t.Errorf("%q: got %q, %v, want %q", c.format, out.String(), err, c.want)
		}
	}
}

func buffer(s string) arg {
	return arg{types.BufferOf(len(s) + 3), append(append(num(types.Int64, int64(len(s))).raw, s...), make([]byte, (len(s)+3+7)&^7-len(s))...)}
}

func TestOtherEvents(t *testing.T) {
	m := &ir.Map{Name: "@x"}
	events := []*ir.Event{
		{Kind: ir.EventPrintMap, Map: m, Top: 3, Div: 2}, {Kind: ir.EventClear, Map: m}, {Kind: ir.EventZero, Map: m},
		{Kind: ir.EventTime, Format: "%H:%M:%S;"}, {Kind: ir.EventPrintValue}, {Kind: ir.EventExit}, {Kind: ir.EventExit},
		{Kind: ir.EventExit, Status: 1}, {Kind: ir.EventCat, Format: "/proc/%d/stat"}, {Kind: ir.EventSystem, Format: "echo %d"},
		{Kind: ir.EventError, Format: "%d%%"}, {Kind: ir.EventWarning, Format: "w%d"}, {Kind: ir.EventJoin, Format: ", "},
		{Kind: ir.EventPrintMap, Map: &ir.Map{Name: "@k", Key: types.Int64}}, {Kind: ir.EventNote},
	}
	var records [][]byte
	for i, ev := range events {
		ev.ID = i
		switch i {
		case 4:
			records = append(records, record(ev, str(8, "hi")))
		case 6:
			records = append(records, record(ev, num(types.Int64, 3)))
		case 8, 9, 10, 11, 13, 14:
			records = append(records, record(ev, num(types.Int64, 7)))
		case 12:
			texts := make([]byte, ir.JoinTexts*ir.JoinSize)
			copy(texts, "ls")
			copy(texts[ir.JoinSize:], "-l")
			copy(texts[2*ir.JoinSize:], "not counted")
			records = append(records, record(ev, arg{types.BufferOf(len(texts)), append(num(types.Int64, 2).raw, texts...)}))
		default:
			records = append(records, record(ev))
		}
	}
	var out recorder
	h := handler(t, &out, events...)
	for _, r := range records {
		if err := h.Handle(r); err != nil {
			t.Error(err)
		}
	}
	if want := "print @x 3 2;clear @x;zero @x;00:46:06;hi\nexit 0;exit 3;exit 1;cat /proc/7/stat;system echo 7;errorf 7%;warnf w7;ls, -l\nprint @k[0700000000000000];note 7;"; out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
}

func TestTime(t *testing.T) {
	at := time.Date(2026, 3, 5, 15, 4, 9, 123456789, time.FixedZone("CET", 3600))
	for format, want := range map[string]string{
		"%H:%M:%S": "15:04:09", "%Y-%m-%d": "2026-03-05", "%F %T": "2026-03-05 15:04:09", "%a %A %b %B": "Thu Thursday Mar March",
		"%j %s": "064 1772719449", "%z %Z": "+0100 CET", "%% %q %": "% %q %", "%I:%M %p %l": "03:04 PM  3", "%e %k %y %C": " 5 15 26 20",
		"%D %R %r": "03/05/26 15:04 03:04:09 PM", "%c": "Thu Mar  5 15:04:09 2026", "%u %w %V %G %U %W": "4 4 10 2026 09 09", "%f%n%t": "123456\n\t",
	} {
		if got := string(export.AppendTime(nil, format, at)); got != want {
			t.Errorf("%q: got %q, want %q", format, got, want)
		}
	}
}

func TestDamagedRecords(t *testing.T) {
	ev := &ir.Event{Kind: ir.EventPrintf, Format: "%s %d"}
	rec := record(ev, str(8, "abc"), num(types.Int32, 1))
	var out recorder
	h := handler(t, &out, ev)
	for n := range rec {
		if err := h.Handle(rec[:n]); !errors.Is(err, ErrDamaged) {
			t.Errorf("%d bytes: got %v", n, err)
		}
	}
	rec[0] = 9
	if err := h.Handle(rec); !errors.Is(err, ErrDamaged) {
		t.Errorf("unknown event: got %v", err)
	}
	if out.Len() != 0 || h.Damaged() != uint64(len(rec)+1) {
		t.Errorf("got %q printed, %d damaged, want none, %d", out.String(), h.Damaged(), len(rec)+1)
	}
	if _, err := New([]*ir.Event{{Kind: ir.EventPrintf, Format: "%d"}}, Options{}); err == nil {
		t.Error("too few arguments: no error")
	}
}

func FuzzHandle(f *testing.F) {
	ev := &ir.Event{Kind: ir.EventPrintf, Format: "%*.*s|%-8d|%#x|%c|%rh|%s"}
	full := record(ev, num(types.Int64, 5), num(types.Int64, 2), str(8, "abc"), num(types.Int8, -1), num(types.Uint64, 7),
		num(types.Int64, 'x'), buffer("xyz"), arg{types.TupleOf(types.Int64, types.StringOf(8)), make([]byte, 16)})
	val := &ir.Event{ID: 1, Kind: ir.EventPrintValue}
	second := record(val, str(64, "x"))
	join := &ir.Event{ID: 2, Kind: ir.EventJoin, Format: " "}
	third := record(join, arg{types.BufferOf(ir.JoinTexts * ir.JoinSize), append(num(types.Int64, 1<<40).raw, make([]byte, ir.JoinTexts*ir.JoinSize)...)})
	late := &ir.Event{ID: 3, Kind: ir.EventPrintf, Format: "%s %s %s %r"}
	fourth := record(late, arg{types.LateOf(types.Inet, ""), make([]byte, 24)}, arg{types.LateOf(types.Timestamp, "%H"), num(types.Int64, -1).raw},
		arg{types.LateOf(types.MACAddress, ""), make([]byte, 8)}, arg{types.BufferOf(4), append(num(types.Int64, -1).raw, "abcdefgh"...)})
	f.Add(full)
	f.Add(second)
	f.Add(third)
	f.Add(fourth)
	f.Fuzz(func(t *testing.T, rec []byte) {
		var out recorder
		h := handler(t, &out, ev, val, join, late)
		err := h.Handle(rec)
		if (err != nil) != (h.Damaged() == 1) || err != nil && out.Len() > 0 {
			t.Errorf("got %v, %d damaged, printed %q", err, h.Damaged(), out.String())
		}
	})
}

type discard struct{ n int }

func (d *discard) Printf(b []byte)               { d.n += len(b) }
func (d *discard) Join(b []byte)                 { d.n += len(b) }
func (d *discard) Time(b []byte)                 { d.n += len(b) }
func (d *discard) Value(t *types.Type, _ []byte) {}

func TestHandleDoesNotAllocate(t *testing.T) {
	ev := &ir.Event{Kind: ir.EventPrintf, Format: "%-16s %6d %x %s\n"}
	rec := record(ev, str(16, "nginx"), num(types.Int32, 1234), num(types.Uint64, 48879), str(64, "/etc/passwd"))
	h, err := New([]*ir.Event{ev}, Options{Sink: &discard{}})
	if err != nil {
		t.Fatal(err)
	}
	if n := testing.AllocsPerRun(100, func() { h.Handle(rec) }); n != 0 {
		t.Errorf("got %v allocations per record, want 0", n)
	}
}

func BenchmarkPrintf(b *testing.B) {
	ev := &ir.Event{Kind: ir.EventPrintf, Format: "%-16s %6d %x %s\n"}
	rec := record(ev, str(16, "nginx"), num(types.Int32, 1234), num(types.Uint64, 48879), str(64, "/etc/passwd"))
	h, _ := New([]*ir.Event{ev}, Options{Sink: &discard{}})
	b.ReportAllocs()
	for b.Loop() {
		h.Handle(rec)
	}
}

// FuzzFormat prints records with any format, of printf and of strftime.
func FuzzFormat(f *testing.F) {
	for _, s := range []string{"%d %s %x\n", "%*.*s|%r", "%-8.3d%#x%%", "%c%rh%rx", "%H:%M:%S.%f %", "%5", "%p %i %o %X", "%llu%+d% d%05d"} {
		f.Add(s, int64(5), int64(-1), "abc")
	}
	f.Fuzz(func(t *testing.T, format string, a, b int64, text string) {
		if len(text) > 100 || len(format) > 1000 {
			return
		}
		list, err := types.ParseFormat(format)
		var args []arg
		for _, d := range list {
			if d.Width > 1000 || d.Prec > 1000 {
				return
			}
			if d.StarW {
				args = append(args, num(types.Int64, a%1000))
			}
			if d.StarP {
				args = append(args, num(types.Int64, b%1000))
			}
			switch {
			case d.Verb == "s" && len(args)%2 == 0:
				args = append(args, str(104, text))
			case d.Verb == "s":
				args = append(args, arg{types.LateOf(types.Timestamp, format), num(types.Int64, a).raw})
			case d.Verb != "" && d.Verb[0] == 'r':
				raw := num(types.Int64, int64(len(text))).raw
				args = append(args, arg{types.BufferOf(104), append(append(raw, text...), make([]byte, 104-len(text))...)})
			case d.Verb != "":
				args = append(args, num([]*types.Type{types.Int64, types.Uint8, types.Int32, types.Boolean}[len(args)%4], b))
			}
		}
		ev := &ir.Event{Kind: ir.EventPrintf, Format: format}
		rec := record(ev, args...)
		h, newErr := New([]*ir.Event{ev}, Options{Sink: &discard{}, Now: time.Now})
		if (newErr == nil) != (err == nil) {
			t.Fatalf("%q: %v, but %v", format, newErr, err)
		}
		if newErr != nil {
			return
		}
		if err := h.Handle(rec); err != nil {
			t.Fatalf("%q: %v", format, err)
		}
		for cut := range rec { // a damaged record is told
			if err := h.Handle(rec[:cut]); err == nil {
				t.Fatalf("%q: %d of %d bytes are no record", format, cut, len(rec))
			}
		}
	})
}
