package compiler_test

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/slopebpf/slope/bpf"
	"github.com/slopebpf/slope/compiler"
	"github.com/slopebpf/slope/compiler/backend"
	"github.com/slopebpf/slope/compiler/ir"
	"github.com/slopebpf/slope/compiler/lower"
	"github.com/slopebpf/slope/lang/check"
	"github.com/slopebpf/slope/lang/source"
	"github.com/slopebpf/slope/lang/types"
)

// header is what the comments of a script say: "// ctx: words" is one run of its raw tracepoint programs, "// vary: a b"
// names maps and indicators whose values depend on the time, "// ring: n" makes a ring buffer of n bytes that nobody
// reads before the end, and the "// want: " lines are all it must leave behind.
type header struct {
	ctxs  [][]uint64
	vary  map[string]bool
	want  []string
	ring  int
	loops bool // there may be more turns than the verifier can follow
	only  int  // 1 to 3: only this way of running it in the kernel, or none
}

// none of the ways of running a script in the kernel.
const none = -1

func readHeader(t testing.TB, script string, w *world) header {
	h := header{vary: map[string]bool{}}
	for _, line := range strings.Split(script, "\n") {
		if s, ok := strings.CutPrefix(line, "// ctx:"); ok {
			var ctx []uint64
			for _, f := range strings.Fields(s) {
				ctx = append(ctx, w.word(t, f))
			}
			h.ctxs = append(h.ctxs, ctx)
		}
		if s, ok := strings.CutPrefix(line, "// ring: "); ok {
			h.ring, _ = strconv.Atoi(s)
		}
		if s, ok := strings.CutPrefix(line, "// vary:"); ok {
			for _, f := range strings.Fields(s) {
				h.vary[f] = true
			}
		}
		if s, ok := strings.CutPrefix(line, "// want: "); ok {
			comm, _, _ := strings.Cut(string(w.comm[:]), "\x00")
			s = strings.NewReplacer("$pid", fmt.Sprint(w.pidTgid>>32), "$tid", fmt.Sprint(uint32(w.pidTgid)),
				"$uid", fmt.Sprint(uint32(w.uidGid)), "$gid", fmt.Sprint(w.uidGid>>32), "$comm", comm).Replace(s)
			h.want = append(h.want, s)
		}
	}
	return h
}

// raw flattens an outcome for comparison: everything but what depends on the time and what the programs only read.
func (o *outcome) raw(vary map[string]bool) string {
	var b strings.Builder
	fmt.Fprintln(&b, o.results)
	for _, name := range slices.Sorted(maps.Keys(o.maps)) {
		if name == "globals" || name == "rodata" || name == "zeros" || strings.HasPrefix(name, "scratch") || strings.HasPrefix(name, "stacks") || strings.HasPrefix(name, "each") {
			continue
		}
		for _, k := range slices.Sorted(maps.Keys(o.maps[name])) {
			if name == "health" && strings.Trim(string(o.maps[name][k]), "\x00") == "" {
				continue
			}
			fmt.Fprintf(&b, "%s[%x]", name, k)
			if !vary[name] && !vary[strings.TrimPrefix(name, "sli_")] && !strings.HasPrefix(name, "spn_") {
				v := string(o.maps[name][k])
				if name == "health" { // preemptible programs may have a counter more
					v = strings.TrimRight(v, "\x00")
				}
				fmt.Fprintf(&b, " = %x", v)
			}
			fmt.Fprintln(&b)
		}
	}
	return b.String()
}

// forgetTimes sets the times in time series and in the values of indicators to 1, where they are set.
func (o *outcome) forgetTimes(obj *compiler.Object) {
	for _, m := range obj.IR.Maps {
		if m.Value == nil || m.Value.Kind != types.Aggregate || m.Value.Agg.Kind != types.TSeriesAgg {
			continue
		}
		for _, v := range o.maps[m.Name] {
			for off := 0; off < len(v); off += 8 * types.TSeriesWords {
				if le.Uint64(v[off:]) == 0 {
					continue
				}
				le.PutUint64(v[off:], 1)
				if types.TSeriesMode(m.Value.Agg.Args[2]) == types.TSeriesLast {
					le.PutUint64(v[off+16:], 1)
				}
			}
		}
	}
	for _, l := range obj.Layout.SLIs {
		var times []int
		if l.SLI.Kind == check.Gauge {
			times = append(times, lower.WordTime)
		}
		if l.Exemplar > 0 {
			times = append(times, l.Exemplar+lower.ExemplarTime)
		}
		for _, m := range []*ir.Map{l.Value, l.Other} {
			if m == nil {
				continue
			}
			for _, v := range o.maps[m.Name] {
				for _, w := range times {
					if le.Uint64(v[8*w:]) != 0 {
						le.PutUint64(v[8*w:], 1)
					}
				}
			}
		}
	}
}

// runAll runs a script in every way there is and returns the text of what it leaves behind, by way. The kernel may be
// nil. An error is a bug in the compiler.
func runAll(t testing.TB, k *kernel, w *world, file *source.File, h header) (map[string][]string, error) {
	texts, raws, printed := map[string][]string{}, map[string]string{}, map[string]string{}
	note := func(way string, obj *compiler.Object, o *outcome) {
		texts[way] = render(obj, o, h.vary)
		o.forgetTimes(obj)
		raws[way] = o.raw(h.vary)
		printed[way] = product(t, obj, o, h.vary)
	}
	o := options(backend.Features{AtomicFetch: true, MapEach: true, PerCPU: true, LongJumps: true}, true, commOffset)
	obj, diags := lowered(file, o)
	if diags.HasErrors() {
		return nil, fmt.Errorf("check: %w", diags)
	}
	w.comms = commOffset
	got, err := interpret(obj.IR, w, h.ctxs, h.ring)
	if err != nil {
		return nil, fmt.Errorf("plain IR: %w\n%s", err, obj.IR)
	}
	note("plain", obj, got)
	o.VerifyIR = h.only == 0 // which costs as much as the rest
	obj, diags = compiler.Compile(file, o)
	if diags.HasErrors() {
		return nil, fmt.Errorf("compile: %w", diags)
	}
	if got, err = interpret(obj.IR, w, h.ctxs, h.ring); err != nil {
		return nil, fmt.Errorf("optimised IR: %w\n%s", err, obj.IR)
	}
	note("optimised", obj, got)
	perf := slices.ContainsFunc(obj.IR.Funcs, func(f *ir.Func) bool { return f.Type != ir.RawTracepoint })
	if k != nil && !perf { // the kernel has no test runs of programs on perf events
		for i, way := range []struct {
			feat    string
			preempt bool
		}{{"v3", false}, {"v3", true}, {"v4", false}} {
			feat, ok := k.feats[way.feat]
			if !ok || h.only != 0 && h.only != i+1 {
				continue
			}
			comm := taskComm()
			o := options(feat, way.feat == "v4" && comm >= 0, comm)
			o.Preempt = way.preempt
			o.VerifyIR = h.only == 0
			o.Kernel.MayGoto = k.may && (way.feat == "v4" || way.preempt)
			obj, diags = compiler.Compile(file, o)
			if tooOld(diags, feat) {
				continue
			}
			if diags.HasErrors() {
				return nil, fmt.Errorf("compile for %s: %w", way.feat, diags)
			}
			got, err = k.run(obj, h.ctxs, h.ring)
			if err != nil && !feat.AtomicFetch && strings.Contains(err.Error(), "too large for this kernel") {
				continue // keys have at most 512 bytes before 5.11
			}
			if tooLong := (*bpf.VerifierError)(nil); h.loops && errors.As(err, &tooLong) &&
				(errors.Is(tooLong.Errno, unix.E2BIG) || strings.Contains(tooLong.Reason, "too complex")) {
				continue
			}
			if err != nil {
				return nil, fmt.Errorf("kernel, %s: %w\n%s", way.feat, err, obj.IR)
			}
			note(fmt.Sprintf("kernel %s, preempt %t", way.feat, way.preempt), obj, got)
		}
	}
	for way := range texts {
		if a, b := strings.Join(texts["plain"], "\n"), strings.Join(texts[way], "\n"); a != b {
			return texts, fmt.Errorf("plain IR leaves\n%s\n%s leaves\n%s", a, way, b)
		}
		if printed[way] != printed["plain"] {
			return texts, fmt.Errorf("plain IR prints\n%s\n%s prints\n%s", printed["plain"], way, printed[way])
		}
		if raws[way] != raws["plain"] {
			return texts, fmt.Errorf("plain IR leaves\n%s\n%s leaves\n%s", raws["plain"], way, raws[way])
		}
	}
	return texts, nil
}

// tooOld tells whether all that is wrong is that the kernel lacks something.
func tooOld(diags source.Diagnostics, feat backend.Features) bool {
	for _, d := range diags {
		switch {
		case d.Severity != source.Error:
		case !feat.AtomicFetch && strings.Contains(d.Message, "atomic fetch-and-add"):
		case !feat.MapEach && strings.Contains(d.Message, "go over the entries of a map"):
		case !feat.LongJumps && strings.Contains(d.Message, "program too large: a jump over"):
		case !feat.PerCPU && strings.Contains(d.Message, "read an aggregation in a probe"):
		default:
			return false
		}
	}
	return diags.HasErrors()
}

// someWorld is the world of the interpreter where there is no kernel.
func someWorld() *world {
	w := &world{pidTgid: 4242<<32 | 4243, uidGid: 7<<32 | 1000, comms: commOffset}
	copy(w.comm[:], "oracle")
	return w
}

// TestRun runs the corpus: plain IR and optimised IR in the interpreter, and the compiled program in the kernel, must
// leave behind the same, and what the script says.
func TestRun(t *testing.T) {
	names, _ := filepath.Glob("testdata/run/*.slo")
	if len(names) == 0 {
		t.Fatal("no scripts")
	}
	t.Run("interp", func(t *testing.T) { runCorpus(t, nil, names) })
	t.Run("kernel", func(t *testing.T) { runCorpus(t, useKernel(t), names) })
}

func runCorpus(t *testing.T, k *kernel, names []string) {
	for _, name := range names {
		script, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		w := someWorld()
		if k != nil {
			w = k.world
		}
		h := readHeader(t, string(script), w)
		texts, err := runAll(t, k, w, source.NewFile(filepath.Base(name), string(script)), h)
		w.pin.Unpin()
		w.text = nil
		if err != nil {
			t.Errorf("%s: %v", filepath.Base(name), err)
			continue
		}
		if !slices.Equal(settled(texts["plain"]), settled(h.want)) {
			t.Errorf("%s: got\n\t%s\nwant\n\t%s", filepath.Base(name), strings.Join(texts["plain"], "\n\t"), strings.Join(h.want, "\n\t"))
		}
	}
}

// settled keeps the order of events and sorts the rest.
func settled(lines []string) []string {
	var events, rest []string
	for _, l := range lines {
		switch word, _, _ := strings.Cut(l, " "); word {
		case "printf", "print", "clear", "zero", "time", "exit", "join", "cat", "system", "errorf", "warnf":
			events = append(events, l)
		default:
			rest = append(rest, l)
		}
	}
	slices.Sort(rest)
	return append(events, rest...)
}
