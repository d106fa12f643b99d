package ide_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/slopebpf/slope/lang/ide"
	"github.com/slopebpf/slope/lang/types"
	"github.com/slopebpf/slope/stdlib"
)

// world is a small world.
type world struct {
	rows  *stdlib.Registry
	names *ide.Names
}

func (w world) Universe() types.Universe                    { return w.rows }
func (w world) Probes(prefix string, n int) ([]string, int) { return w.names.Prefix(prefix, n) }
func (w world) SLOs() []string                              { return []string{"fast", "works"} }
func (w world) SLIs() []ide.SLI {
	return []ide.SLI{{Name: "checkout", Doc: "Time to serve", Labels: []string{"route", "code"}}}
}
func (w world) Maps() []ide.Map {
	return []ide.Map{{Name: "@bytes", Key: types.StringOf(16), Value: types.Uint64}, {Name: "@task", Value: types.PointerTo(task(), false)}}
}

func task() *types.Type {
	return &types.Type{Kind: types.Struct, Name: "task", Layout: types.Fields{{Name: "pid", Type: types.Int32}, {Name: "parent", Type: types.Uint64}}}
}

func (w world) Fields(attach string) []types.Field {
	if attach != "tracepoint:sched:wake" {
		return nil
	}
	return []types.Field{{Name: "comm", Type: types.StringOf(16)}, {Name: "count", Type: types.Uint64}, {Name: "task", Type: types.PointerTo(task(), false)}}
}

func newWorld(more ...string) world {
	return world{stdlib.New(), ide.NewNames(append(more, "tracepoint:sched:wake", "tracepoint:sched:sleep", "tracepoint:syscalls:read", "rawtracepoint:wake"))}
}

// TestComplete: the cursor is at the bar. The completions hold each word of want, and none of those with a minus.
func TestComplete(t *testing.T) {
	w := newWorld()
	for _, c := range []struct{ text, want string }{
		{"|", "tracepoint: interval: begin sli slo -printf( -tracepoint:sched:wake"},
		{"tracep|", "tracepoint: -interval:"},
		{"tracepoint:sch|", "tracepoint:sched:wake tracepoint:sched:sleep -tracepoint:syscalls:read"},
		{"t:sched:w|", "tracepoint:sched:wake -tracepoint:sched:sleep"},
		{"name=tracepoint:sched:w|", "tracepoint:sched:wake"},
		{"tracepoint:sched:wake, tracepoint:sched:s|", "tracepoint:sched:sleep"},
		{"tracepoint:sched:wake { | }", "printf( count( comm if @bytes -start( -sli"},
		{"tracepoint:sched:wake { pri|", "printf( print( -count("},
		{"tracepoint:sched:wake { @x = args.|", "comm count task -pid"},
		{"tracepoint:sched:wake { @x = args.co|", "comm count -task"},
		{"tracepoint:sched:wake { @x = args.task->|", "pid parent -comm"},
		{"tracepoint:sched:wake { $t = args.task; @x = $t->p|", "pid parent"},
		{"tracepoint:sched:wake { @x = @task->p|", "pid parent"},
		{"tracepoint:sched:wake /args.co|", "comm count"},
		{"tracepoint:sched:wake /p|", "pid"},
		{"tracepoint:sched:wake { $abc = 1; $def = 2; @x = $a|", "$abc -$def"},
		{"tracepoint:sched:wake { @b|", "@bytes -@task"},
		{"tracepoint:sched:wake { @own = 1; @o|", "@own"},
		{"tracepoint:sched:wake { clear(|", "@bytes -printf("},
		{"tracepoint:sched:wake /burning(f|", "fast -works -printf("},
		{"tracepoint:sched:wake { printf(\"pri|", "-printf("},
		{"tracepoint:sched:wake { // pri|", "-printf("},
		{"sli x { | }", "tracepoint: unit -slo"},
		{"sli x { unit = |", "seconds bytes none"},
		{"sli x { tracepoint:sched:wake { st|", "start( stop( str("},
		{"sli x { unit = seconds; trace|", "tracepoint:"},
		{"slo y = 99% of |", "checkout minutes"},
		{"slo y = 99% of checkout|", "checkout"},
		{"slo y = 99% of checkout |", "over where by"},
		{"slo y = 99% of checkout where |", "route code"},
		{"slo y = 99% of checkout[r|", "route -code"},
		{"slo y = 99% of checkout over 7d by c|", "code"},
		{"slo y = 99% of checkout over |", "7d 30d calendar"},
		{"slo y = 99% of checkout over 7d { p|", "page"},
		{"tracepoint:sched:wake { @a = 1; }\ninter|", "interval:"},
	} {
		offset := strings.IndexByte(c.text, '|')
		text := c.text[:offset] + c.text[offset+1:]
		l := ide.Complete(text, offset, w)
		var got []string
		for _, i := range l.Items {
			got = append(got, i.Text)
			if !strings.HasPrefix(i.Text, text[l.From:offset]) && !strings.Contains(text[l.From:offset], ":") {
				t.Errorf("%s: %q does not begin with %q", c.text, i.Text, text[l.From:offset])
			}
		}
		for _, word := range strings.Fields(c.want) {
			name, unwanted := strings.CutPrefix(word, "-")
			found := slices.ContainsFunc(got, func(g string) bool { return strings.Fields(g)[0] == name })
			if found == unwanted {
				t.Errorf("%s: want %s, got %q", c.text, word, got)
			}
		}
	}
}

func TestSignature(t *testing.T) {
	w := newWorld()
	for text, want := range map[string]string{
		"begin { printf(":                   "printf(format[, args…]) 0",
		"begin { printf(\"%d\", pid":        "printf(format[, args…]) 1",
		"begin { @x = lhist(args.a[1, 2], ": "lhist(n, min, max, step) 1",
		"begin { printf(\"%d\", str(":       "str",
		"begin { printf(\"%d\")":            "",
		"begin { print(comm(":               "comm(thread) 0",
		"begin { if (":                      "",
		"":                                  "",
	} {
		c, ok := ide.Signature(text, len(text), w)
		got := ""
		if ok {
			got = fmt.Sprintf("%s %d", c.Label, c.Param)
		}
		if !strings.HasPrefix(got, want) || want == "" && got != "" {
			t.Errorf("%s: got %q, want %q", text, got, want)
		}
	}
}

func TestHoverAndColours(t *testing.T) {
	w := newWorld()
	text := `tracepoint:sched:wake { @bytes[comm] = count(); $x = "a"; } // end`
	for at, want := range map[int]string{0: "tracepoint:", strings.Index(text, "@bytes"): "@bytes: [string[16]] uint64", strings.Index(text, "count"): "count()", strings.Index(text, "comm]"): "comm"} {
		if title, _ := ide.Hover(text, at, w); !strings.HasPrefix(title, want) {
			t.Errorf("at %d: got %q, want %q", at, title, want)
		}
	}
	var got []string
	for _, s := range ide.Colours(text, w.rows) {
		got = append(got, fmt.Sprintf("%s=%d", text[s.Start:s.End], s.Class))
	}
	want := fmt.Sprintf("tracepoint:sched:wake=%d @bytes=%d comm=%d count=%d $x=%d \"a\"=%d // end=%d",
		ide.ProbeClass, ide.VarClass, ide.BuiltinClass, ide.FuncClass, ide.VarClass, ide.StringClass, ide.CommentClass)
	if strings.Join(got, " ") != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if a := ide.Attach("b=tracepoint:sched:wake { x", 26); a != "tracepoint:sched:wake" {
		t.Errorf("attach point %q", a)
	}
}

// FuzzComplete: any text and any offset have an answer.
func FuzzComplete(f *testing.F) {
	f.Add("sli x { tracepoint:sched:wake { start(args.", 10)
	f.Add("slo y = 99% of checkout[", 24)
	f.Add("}}}]](((\"$@", 3)
	w := newWorld()
	f.Fuzz(func(t *testing.T, text string, offset int) {
		l := ide.Complete(text, offset, w)
		if l.From < 0 || l.From > len(text) {
			t.Errorf("from %d of %d", l.From, len(text))
		}
		ide.Signature(text, offset, w)
		ide.Hover(text, offset, w)
		ide.Colours(text, w.rows)
		ide.Attach(text, offset)
	})
}

// BenchmarkComplete is one key with 100 000 probe names.
func BenchmarkComplete(b *testing.B) {
	var names []string
	for i := range 100_000 {
		names = append(names, fmt.Sprintf("tracepoint:system%d:event_%d", i%100, i))
	}
	w := newWorld(names...)
	for _, text := range []string{"tracepoint:system4", "tracepoint:system42:event_4", "tracepoint:sched:wake { @x[comm] = count(); pri"} {
		b.Run(text, func(b *testing.B) {
			for b.Loop() {
				ide.Complete(text, len(text), w)
				ide.Signature(text, len(text), w)
				ide.Colours(text, w.rows)
			}
		})
	}
}
