package source

import (
	"strings"
	"testing"
)

func TestDistance(t *testing.T) {
	for _, c := range []struct {
		a, b        string
		limit, want int
	}{
		{"count", "count", 2, 0}, {"cuont", "count", 2, 1}, {"Count", "cOUNT", 2, 0}, {"", "ab", 2, 2}, {"", "abc", 2, 3},
		{"kitten", "sitting", 5, 3}, {"kitten", "sitting", 2, 3}, {"abcd", "badc", 4, 2}, {"retvel", "retval", 2, 1}, {"a", "bcdefg", 3, 4},
	} {
		if got := Distance(c.a, c.b, c.limit); got != c.want {
			t.Errorf("Distance(%q, %q, %d) = %d, want %d", c.a, c.b, c.limit, got, c.want)
		}
		if Distance(c.a, c.b, c.limit) != Distance(c.b, c.a, c.limit) {
			t.Errorf("Distance of %q and %q depends on the order", c.a, c.b)
		}
	}
}

func TestNearest(t *testing.T) {
	names := []string{"printf", "print", "pid", "tid", "count", "comm"}
	for got, want := range map[string]string{"prinf": "print", "prinff": "printf", "prnt": "print", "cuont": "count", "pdi": "pid", "xyz": "", "com": "comm", "PID": "pid"} {
		if n := Nearest(got, names); n != want {
			t.Errorf("Nearest(%q) = %q, want %q", got, n, want)
		}
	}
}

func TestPositions(t *testing.T) {
	f := NewFile("x.slo", "ab\n\tcd\r\n\nend")
	for offset, want := range map[int32][2]int{0: {1, 1}, 2: {1, 3}, 3: {2, 1}, 5: {2, 3}, 8: {3, 1}, 9: {4, 1}, 12: {4, 4}, 99: {4, 4}, -5: {1, 1}} {
		if line, col := f.Position(offset); line != want[0] || col != want[1] {
			t.Errorf("Position(%d) = %d:%d, want %d:%d", offset, line, col, want[0], want[1])
		}
	}
	if f.Line(2) != "\tcd" || f.Line(3) != "" || f.Line(9) != "" {
		t.Errorf("lines: %q %q", f.Line(2), f.Line(3))
	}
	if got := f.Place(Span{4, 6}); got != "x.slo:2:2-4" {
		t.Errorf("place: %s", got)
	}
	if got := f.Place(Span{0, 6}); got != "x.slo:1-2" {
		t.Errorf("place of two lines: %s", got)
	}
}

func TestRender(t *testing.T) {
	f := NewFile("stdin", "begin { föö + x }\n\tend")
	var ds Diagnostics
	ds.Errorf(f, Span{8, 13}, "unknown identifier: '%s'", "föö").WithHint("did you mean 'foo'?")
	ds.Warnf(f, Span{21, 24}, "unused")
	want := "stdin:1:9-14: ERROR: unknown identifier: 'föö'\nbegin { föö + x }\n        ~~~\nHINT: did you mean 'foo'?\n" +
		"stdin:2:2-5: WARNING: unused\n\tend\n\t~~~\n"
	var b strings.Builder
	ds.Render(&b, false)
	if b.String() != want {
		t.Errorf("got\n%s\nwant\n%s", b.String(), want)
	}
	if !ds.HasErrors() || ds.Incomplete() || ds[1:].HasErrors() {
		t.Error("severities are mixed up")
	}
	ds[0].AtEOF = true
	if !ds.Incomplete() {
		t.Error("an error at the end of the input can be cured by more")
	}
}
