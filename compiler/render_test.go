package compiler_test

import (
	"fmt"
	"sort"
	"strings"

	"github.com/slopebpf/slope/compiler"
	"github.com/slopebpf/slope/compiler/ir"
	"github.com/slopebpf/slope/compiler/lower"
	"github.com/slopebpf/slope/compiler/native"
	"github.com/slopebpf/slope/lang/check"
	"github.com/slopebpf/slope/lang/types"
)

// text prints one value. It is written for this test only, so that the product's own printing is not its judge.
func text(t *types.Type, b []byte) string {
	switch t.Kind {
	case types.String:
		s, _, _ := strings.Cut(string(b[:t.Memory()]), "\x00")
		return fmt.Sprintf("%q", s)
	case types.Tuple:
		var parts []string
		for i, e := range t.Elems {
			name := ""
			if t.Names != nil {
				name = t.Names[i] + "="
			}
			parts = append(parts, name+text(e, b))
			b = b[e.Memory():]
		}
		return "(" + strings.Join(parts, ", ") + ")"
	case types.Struct:
		var parts []string
		for _, f := range t.Layout.Fields() {
			p := b[f.Offset:]
			switch {
			case f.BitSize > 0:
				var w [8]byte
				copy(w[:], p)
				n := le.Uint64(w[:]) >> f.BitOff & (1<<f.BitSize - 1)
				parts = append(parts, fmt.Sprintf("%s=%d", f.Name, n))
			case f.Type.Kind == types.Array || f.Type.Kind == types.Struct:
				parts = append(parts, f.Name+"="+text(f.Type, p))
			default:
				parts = append(parts, f.Name+"="+text(types.ArrayOf(f.Type, 1), p))
			}
		}
		return "{" + strings.Join(parts, " ") + "}"
	case types.Array:
		var parts []string
		for i := range t.Len {
			if t.Elem.Kind == types.Array || t.Elem.Kind == types.Struct {
				parts = append(parts, text(t.Elem, b[i*t.Elem.Size:][:t.Elem.Size]))
				continue
			}
			var word [8]byte
			copy(word[:], b[i*t.Elem.Size:][:t.Elem.Size])
			if t.Elem.Signed && word[t.Elem.Size-1]&0x80 != 0 {
				for j := t.Elem.Size; j < 8; j++ {
					word[j] = 0xff
				}
			}
			parts = append(parts, text(t.Elem, word[:]))
		}
		return "[" + strings.Join(parts, ",") + "]"
	case types.Buffer:
		return fmt.Sprintf("%q", b[8:8+le.Uint64(b)])
	case types.Late:
		switch t.Late {
		case types.UserSymbol:
			return fmt.Sprintf("%#x of %d", le.Uint64(b), le.Uint64(b[8:]))
		case types.Inet:
			return fmt.Sprintf("%d/%x", le.Uint64(b), b[8:24])
		case types.MACAddress:
			return fmt.Sprintf("%x", b[:8])
		}
		return fmt.Sprint(le.Uint64(b))
	case types.Bool:
		return fmt.Sprint(le.Uint64(b) != 0)
	case types.Aggregate:
		return aggregate(t.Agg, words(b))
	}
	if t.Signed {
		return fmt.Sprint(int64(le.Uint64(b)))
	}
	return fmt.Sprint(le.Uint64(b))
}

func words(b []byte) []uint64 {
	out := make([]uint64, len(b)/8)
	for i := range out {
		out[i] = le.Uint64(b[8*i:])
	}
	return out
}

func aggregate(a *types.Agg, w []uint64) string {
	n := func(x uint64) string {
		if a.Signed {
			return fmt.Sprint(int64(x))
		}
		return fmt.Sprint(x)
	}
	switch a.Kind {
	case types.CountAgg:
		return "count " + fmt.Sprint(w[0])
	case types.SumAgg, types.MinAgg, types.MaxAgg:
		if w[1] == 0 {
			return a.Func + " unset"
		}
		return a.Func + " " + n(w[0])
	case types.AvgAgg, types.StatsAgg:
		return fmt.Sprintf("%s %s/%d", a.Func, n(w[0]), w[1])
	case types.HistAgg, types.LHistAgg:
		return a.Func + buckets(w, func(i int) string {
			if a.Kind == types.LHistAgg {
				return lhistBucket(a, i)
			}
			return histBucket(a.Args[0], i)
		})
	}
	if a.Kind == types.TSeriesAgg {
		s := a.Func
		for ; len(w) > 0; w = w[types.TSeriesWords:] {
			if w[0] != 0 {
				s += " " + n(w[1])
			}
			if w[0] != 0 && types.TSeriesMode(a.Args[2]) == types.TSeriesAvg {
				s += fmt.Sprintf("/%d", w[2])
			}
		}
		return s
	}
	return fmt.Sprintf("dist count %d sum %d zero %d", w[0], w[1], w[2]) + nativeBuckets(w[3:], int(a.Args[0]), 1)
}

// nativeBuckets prints "index:count"; bucket i ends at unit*2^(i/2^schema).
func nativeBuckets(w []uint64, schema int, unit uint64) string {
	first := native.New(schema, unit).First
	return buckets(w, func(i int) string { return fmt.Sprint(first + i) })
}

func buckets(w []uint64, name func(i int) string) string {
	s := ""
	for i, n := range w {
		if n != 0 {
			s += fmt.Sprintf(" %s:%d", name(i), n)
		}
	}
	return s
}

// histBucket prints the range of a bucket, found by counting up: negatives, 0 … 2^k-1, then 2^k parts of each power.
func histBucket(k int64, i int) string {
	if i == 0 {
		return "neg"
	}
	if i <= 1<<k {
		return fmt.Sprint(i - 1)
	}
	i -= 1<<k + 1
	low := uint64(1) << (int(k) + i>>k)
	step := low >> k
	low += uint64(i&(1<<k-1)) * step
	if step == 1 {
		return fmt.Sprint(low)
	}
	return fmt.Sprintf("%d-%d", low, low+step-1)
}

func lhistBucket(a *types.Agg, i int) string {
	switch i {
	case 0:
		return "below"
	case a.Words - 1:
		return "above"
	}
	return fmt.Sprint(a.Args[0] + int64(i-1)*a.Args[2])
}

// sorted returns keys in the order of their text.
func sorted(m map[string][]byte, key *types.Type) []string {
	var out []string
	for k := range m {
		out = append(out, k)
	}
	sort.Slice(out, func(i, j int) bool { return text(key, []byte(out[i])) < text(key, []byte(out[j])) })
	return out
}

// render prints what a script leaves behind: events, maps, indicators, losses.
func render(obj *compiler.Object, o *outcome, vary map[string]bool) []string {
	var out []string
	add := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	for _, rec := range o.records {
		if ev := obj.IR.Events[le.Uint64(rec)]; ev.Kind != ir.EventNote {
			add("%s", event(ev, rec))
		}
	}
	for _, m := range obj.IR.Maps {
		vals := o.maps[m.Name]
		switch {
		case !strings.HasPrefix(m.Name, "@"):
		case m.Key == nil:
			for _, v := range vals {
				if m.Value.Kind != types.Aggregate && le.Uint64(v[m.Value.Memory():]) == 0 || blank(m.Value, v) {
					continue
				}
				add("%s = %s", m.Name, varied(vary[m.Name], text(m.Value, v)))
			}
		default:
			for _, k := range sorted(vals, m.Key) {
				key := text(m.Key, []byte(k))
				if m.Key.Kind == types.Tuple {
					key = key[1 : len(key)-1]
				}
				add("%s[%s] = %s", m.Name, key, varied(vary[m.Name], text(m.Value, vals[k])))
			}
		}
	}
	for _, s := range obj.Layout.SLIs {
		out = append(out, indicator(s, o, vary[s.SLI.Name])...)
	}
	if h := obj.IR.Health; h != nil {
		for _, v := range o.maps[h.Name] {
			for i, n := range words(v) {
				c := obj.IR.Counters[i]
				if n == 0 {
					continue
				}
				of := ""
				if c.Map != nil {
					of = " " + c.Map.Name
				}
				add("%s%s %d", c.Loss, of, n)
			}
		}
	}
	return out
}

func varied(vary bool, s string) string {
	if vary {
		return "*"
	}
	return s
}

// blank tells whether an unkeyed aggregation was never used.
func blank(t *types.Type, v []byte) bool {
	return t.Kind == types.Aggregate && strings.Trim(string(v), "\x00") == ""
}

func indicator(s *lower.SLILayout, o *outcome, vary bool) []string {
	var out []string
	one := func(name string, w []uint64) {
		if w[0] == 0 {
			return
		}
		line := fmt.Sprintf("%s count %d", name, w[0])
		if s.Histogram < s.Words && !vary {
			line += fmt.Sprintf(" sum %d", w[lower.WordSum])
		}
		if s.SLI.Kind == check.Gauge {
			line += fmt.Sprintf(" value %d", int64(w[lower.WordValue]))
		}
		for _, ob := range s.Objectives {
			label := "bad"
			if ob.SLO != nil {
				label = ob.SLO.Name
			}
			line += fmt.Sprintf(" %s %d/%d", label, w[ob.Bad], w[ob.Total])
		}
		if s.Histogram < s.Words && !vary {
			line += fmt.Sprintf(" zero %d", w[s.Histogram])
			line += nativeBuckets(w[s.Histogram+1:], s.SLI.Schema, s.SLI.Unit.PerBase())
		}
		if s.Exemplar > 0 {
			e := w[s.Exemplar:]
			var id []byte
			for _, part := range e[lower.ExemplarTrace:lower.ExemplarWords] {
				id = le.AppendUint64(id, part)
			}
			if id, _, _ := strings.Cut(string(id), "\x00"); id != "" {
				line += fmt.Sprintf(" trace %q of %d", id, e[lower.ExemplarValue])
			}
		}
		out = append(out, line)
	}
	vals := o.maps[s.Value.Name]
	if s.Other == nil {
		for _, v := range vals {
			one("sli "+s.SLI.Name, words(v))
		}
	} else {
		for _, k := range sorted(vals, s.Value.Key) {
			one("sli "+s.SLI.Name+text(s.Value.Key, []byte(k)), words(vals[k]))
		}
		for _, v := range o.maps[s.Other.Name] {
			one("sli "+s.SLI.Name+" other", words(v))
		}
	}
	if s.Stats != nil {
		names := [...]string{"started", "overwritten", "stopped", "missed", "cancelled", "failed"}
		for _, v := range o.maps[s.Stats.Name] {
			out = append(out, "spans "+s.SLI.Name+fmt.Sprintf(" open %d", len(o.maps[s.Spans.Name]))+buckets(words(v), func(i int) string { return names[i] }))
		}
	}
	return out
}

func event(ev *ir.Event, rec []byte) string {
	s := [...]string{"printf", "print", "print", "clear", "zero", "time", "exit", "join", "cat", "system", "errorf", "warnf"}[ev.Kind]
	if ev.Kind == ir.EventJoin {
		a := rec[ev.Args[0].Offset:]
		s += fmt.Sprintf(" %q", ev.Format)
		for i := range le.Uint64(a) {
			text, _, _ := strings.Cut(string(a[8+i*ir.JoinSize:][:ir.JoinSize]), "\x00")
			s += fmt.Sprintf(" %q", text)
		}
		return s
	}
	if ev.Status != 0 {
		s += fmt.Sprintf(" %d", ev.Status)
	}
	if ev.Format != "" {
		s += fmt.Sprintf(" %q", ev.Format)
	}
	if ev.Map != nil {
		s += " " + ev.Map.Name
	}
	if ev.Top != 0 {
		s += fmt.Sprintf(" top %d", ev.Top)
	}
	if ev.Div != 0 {
		s += fmt.Sprintf(" div %d", ev.Div)
	}
	for _, a := range ev.Args {
		s += " " + text(a.Type, rec[a.Offset:])
	}
	return s
}
