package flame

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/google/pprof/profile"
)

func folded(t *testing.T, input string) string {
	t.Helper()
	stacks, err := Read(strings.NewReader(input))
	if err != nil {
		t.Fatalf("%s: %v", input, err)
	}
	var b bytes.Buffer
	if err := Folded(&b, stacks); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestRead(t *testing.T) {
	for input, want := range map[string]string{
		"main;work;read 3\nmain;idle 2\nmain;work;read 4\n": "main;idle 2\nmain;work;read 7\n",
		"one 1": "one 1\n",
		`{"type": "attached_probes", "data": {"probes": 1}}` + "\n" +
			`{"type": "map", "data": {"@": {"\n    read+4\n    main.work+10\n,\n    ksys_read+1\n    entry+2\n,dd": 5}}}` + "\n" +
			`{"type": "map", "data": {"@n": {"dd": 5}}}`: "dd;main.work;read;entry;ksys_read 5\n",
		`{"type": "map", "data": {"@": {"\n\tffff0 read+4 (/lib/x y.so)\n\t401000 a::f(int) const+10 (/bin/x)\n\t12 0x12\n,dd": 5}}}`: "dd;0x12;a::f(int) const;read 5\n",
		`{"type": "map", "data": {"@": {"\n7f12\n401000\n": 5}}}`:                                                                     "401000;7f12 5\n",
		`{"type": "map", "data": {"@": {"\n,\n    f(a, b)+1\n,x": 5}}}`:                                                               "x;f(a, b) 5\n",
		`{"type": "map", "data": {"@": {"\n    0x12\n": 5}}}`:                                                                         "0x12 5\n",
		`{"version": 1, "stacks": [{"map": "@why", "stack": "a;b", "count": 9}]}`:                                                     "a;b 9\n",
	} {
		if got := folded(t, input); got != want {
			t.Errorf("%s\ngot  %q\nwant %q", input, got, want)
		}
	}
	for _, input := range []string{"", "{}", `{"type": "map", "data": {"@": 5}}`} {
		if _, err := Read(strings.NewReader(input)); !errors.Is(err, ErrNoStacks) {
			t.Errorf("%q: %v", input, err)
		}
	}
	for _, n := range []string{"-3", "0.5", "1e30"} {
		if _, err := Read(strings.NewReader(`{"type": "map", "data": {"@": {"\n    a+1\n": ` + n + `}}}`)); err == nil || !strings.Contains(err.Error(), "has the value "+n) {
			t.Errorf("the value %s: %v", n, err)
		}
	}
	if _, err := Read(strings.NewReader("a;b 1\nnonsense\n")); err == nil || !strings.Contains(err.Error(), "line 2") {
		t.Errorf("a line without a count: %v", err)
	}
}

func TestPictures(t *testing.T) {
	stacks, err := Read(strings.NewReader("main;<work> & more;read 75\nmain;idle 25\n"))
	if err != nil {
		t.Fatal(err)
	}
	var svg bytes.Buffer
	if err := SVG(&svg, stacks, "what & why"); err != nil {
		t.Fatal(err)
	}
	for dec := xml.NewDecoder(bytes.NewReader(svg.Bytes())); ; {
		if _, err := dec.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("%v\n%s", err, svg.String())
		}
	}
	for _, part := range []string{"<title>all: 100, 100.00 %</title>", "<title>main: 100, 100.00 %</title>", "<title>read: 75, 75.00 %</title>",
		"<title>idle: 25, 25.00 %</title>", "what &amp; why"} {
		if !strings.Contains(svg.String(), part) {
			t.Errorf("no %s in\n%s", part, svg.String())
		}
	}
	var prof bytes.Buffer
	if err := Pprof(&prof, stacks); err != nil {
		t.Fatal(err)
	}
	p, err := profile.Parse(&prof)
	if err != nil {
		t.Fatal(err)
	}
	if len(p.Sample) != 2 || p.Sample[0].Value[0] != 75 || p.Sample[0].Location[0].Line[0].Function.Name != "read" {
		t.Errorf("profile: %s", p)
	}
}

func FuzzRead(f *testing.F) {
	f.Add("a;b 1\n")
	f.Add(`{"type": "map", "data": {"@": {"\n    a+1\n,x": 5}}}`)
	f.Fuzz(func(t *testing.T, text string) {
		stacks, err := Read(strings.NewReader(text))
		if err != nil {
			return
		}
		if err := SVG(io.Discard, stacks, "x"); err != nil {
			t.Error(err)
		}
	})
}
