package syntax

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/slopebpf/slope/lang/source"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// corpus reads the scripts under testdata that match a pattern.
func corpus(t testing.TB, pattern string) []*source.File {
	names, err := filepath.Glob(filepath.Join("testdata", pattern))
	if err != nil || len(names) == 0 {
		t.Fatalf("no files match %s: %v", pattern, err)
	}
	var out []*source.File
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, source.NewFile(filepath.Base(name), string(text)))
	}
	return out
}

func joined(tokens []Token) string {
	var b strings.Builder
	for _, t := range tokens {
		b.WriteString(t.Text)
	}
	return b.String()
}

func dumped(f *File) string {
	var b bytes.Buffer
	DumpFile(&b, f)
	return b.String()
}

func printed(t testing.TB, f *File) string {
	var b bytes.Buffer
	if err := Print(&b, f); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func comments(f *File) (out []string) {
	for _, t := range f.Tokens {
		if t.Kind == Comment {
			out = append(out, strings.TrimRight(t.Text, " \t\r"))
		}
	}
	return out
}

// internalName matches the names of productions, which no message may show.
var internalName = regexp.MustCompile(`want .*\bg[A-Z]|syntax\.[A-Z]`)

// checkTree holds for every text: nothing lost, everything inside the file, spans nested.
func checkTree(t testing.TB, f *File, ds source.Diagnostics) {
	text := f.Source.Text
	if joined(f.Tokens) != text {
		t.Errorf("tokens do not join to the source")
	}
	for _, d := range ds {
		if d.Span.Start < 0 || d.Span.End < d.Span.Start || int(d.Span.End) > len(text) {
			t.Errorf("diagnostic outside the file: %v %v", d.Span, d.Message)
		}
		if strings.Contains(d.Message, "cannot parse this") || internalName.MatchString(d.Message) {
			t.Errorf("message does not say what is wanted: %s\n%s", d.Message, text)
		}
	}
	var inside func(n Node, outer source.Span)
	inside = func(n Node, outer source.Span) {
		if isNil(n) {
			return
		}
		s := n.Span()
		if s.Start < outer.Start || s.End > outer.End || s.Start > s.End {
			t.Errorf("span %v of %T is not inside %v", s, n, outer)
		}
		for _, c := range children(n) {
			inside(c, s)
		}
	}
	for _, item := range f.Items {
		inside(item, source.Span{End: int32(len(text))})
	}
}

// checkPrint holds for every text without errors: printing keeps the tree and the comments, and is stable.
func checkPrint(t testing.TB, f *File) {
	once := printed(t, f)
	again, ds := Parse(source.NewFile("printed", once))
	if len(ds) > 0 {
		t.Fatalf("printed text does not parse: %v\nsource:\n%s\nprinted:\n%s", ds, f.Source.Text, once)
	}
	if a, b := dumped(f), dumped(again); a != b {
		t.Fatalf("printing changed the tree\nsource:\n%s\nprinted:\n%s\ntree:\n%s\nbecame:\n%s", f.Source.Text, once, a, b)
	}
	if a, b := comments(f), comments(again); strings.Join(a, "\n") != strings.Join(b, "\n") && len(cdefs(f)) == 0 {
		t.Fatalf("printing changed the comments\nsource:\n%s\nprinted:\n%s", f.Source.Text, once)
	}
	if twice := printed(t, again); twice != once {
		t.Fatalf("printing is not stable\nonce:\n%s\ntwice:\n%s", once, twice)
	}
}

func cdefs(f *File) (out []Item) {
	for _, item := range f.Items {
		if _, ok := item.(*CDef); ok {
			out = append(out, item)
		}
	}
	return out
}

func TestCorpus(t *testing.T) {
	for _, src := range corpus(t, "*.slo") {
		t.Run(src.Name, func(t *testing.T) {
			f, ds := Parse(src)
			if len(ds) > 0 {
				t.Fatalf("unexpected diagnostics:\n%v", ds)
			}
			checkTree(t, f, ds)
			checkPrint(t, f)
		})
	}
}

// TestPrefixes cuts every script at every token: whatever the user has typed so far must not crash, and what
// ends in the middle of a body must ask for more input.
func TestPrefixes(t *testing.T) {
	for _, src := range corpus(t, "*.slo") {
		for _, tok := range Lex(src.Text) {
			f, ds := Parse(source.NewFile(src.Name, src.Text[:tok.Span.End]))
			checkTree(t, f, ds)
		}
	}
}

var errorMark = regexp.MustCompile(`// ERR ("(?:[^"\\]|\\.)*")`)

// TestErrors compares the errors of each script with the marks at the ends of its lines: // ERR "regexp".
func TestErrors(t *testing.T) {
	for _, src := range corpus(t, "errors/*.slo") {
		t.Run(src.Name, func(t *testing.T) {
			want := map[int][]string{}
			for i, line := range strings.Split(src.Text, "\n") {
				for _, m := range errorMark.FindAllStringSubmatch(line, -1) {
					want[i+1] = append(want[i+1], m[1][1:len(m[1])-1])
				}
			}
			f, ds := Parse(src)
			checkTree(t, f, ds)
			for _, d := range ds {
				line, _ := src.Position(d.Span.Start)
				list := want[line]
				if len(list) == 0 {
					t.Errorf("line %d: unexpected error: %s", line, d.Message)
					continue
				}
				if ok, err := regexp.MatchString(list[0], d.Message); err != nil || !ok {
					t.Errorf("line %d: got %q, want %q (%v)", line, d.Message, list[0], err)
				}
				want[line] = list[1:]
			}
			for line, list := range want {
				for _, w := range list {
					t.Errorf("line %d: no error, want %q", line, w)
				}
			}
		})
	}
}

// TestRenderings holds whole messages, places and underlines included.
func TestRenderings(t *testing.T) {
	inputs := []string{
		"kprobe:f { $x = ; }",
		"kprobe:f { @a = count() @b = 1; }",
		"kprobe:f {\n\tprintf(\"\\q\");\n}",
		"kprobe:f { if (pid == 1 { } }",
		"slo fast = 99.9% of checkout <= over 30d;",
		"sli x { unit seconds; }",
		"fn f($a : 1) : int64 { }",
		"BEGIN { 99999999999999999999 }",
		"kprobe:f { (1, 2) = 3; }",
		"kprobe:f { \"open }",
		"kprobe:f { @x[1",
		"uprobe:/x:\"open { }",
		"config = { a = 1 }\nconfig = { b = 2 }",
	}
	var got strings.Builder
	for _, in := range inputs {
		_, ds := Parse(source.NewFile("stdin", in))
		ds.Render(&got, false)
		got.WriteString("\n")
	}
	golden := filepath.Join("testdata", "renderings.golden")
	if *update {
		if err := os.WriteFile(golden, []byte(got.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if got.String() != string(want) {
		t.Errorf("renderings differ; run with -update and read the diff\n%s", got.String())
	}
}

func FuzzParse(f *testing.F) {
	for _, src := range append(corpus(f, "*.slo"), corpus(f, "errors/*.slo")...) {
		f.Add(src.Text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) > 1<<16 {
			t.Skip()
		}
		file, ds := Parse(source.NewFile("fuzz", text))
		checkTree(t, file, ds)
		if len(ds) == 0 {
			checkPrint(t, file)
		}
		printed(t, file) // a broken tree must print too
		dumped(file)
	})
}
