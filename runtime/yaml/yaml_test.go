package yaml

import (
	"strings"
	"testing"

	reader "go.yaml.in/yaml/v2"
)

// TestStrings reads back what was written, and finds comments to be comments.
func TestStrings(t *testing.T) {
	for _, s := range []string{"", "a", "it's", `"q" \ `, "a: b # c", "- x", "{{ $value }}", "two\nlines", "tab\there", "null", "\u2028", "\u00e9\U0001f600", " blank ", "bad \xff byte", "\ufeff", "1e3"} {
		var p Page
		p.Note(0, s+"\nx: 1")
		p.Pairs(0, "top", []Pair{{"k", s}})
		p.Line(0, "list:")
		p.Line(1, "- %s", Quote(s))
		var doc struct {
			Top  map[string]string
			List []string
		}
		want := strings.ToValidUTF8(s, "\ufffd")
		if err := reader.UnmarshalStrict(p.Bytes(), &doc); err != nil || doc.Top["k"] != want || doc.List[0] != want {
			t.Errorf("%q: %v, read %q\n%s", s, err, doc, p.String())
		}
	}
	var p Page
	p.Text(0, "expr", "a\n/\nb")
	p.Text(0, "one", "it's")
	p.Pairs(0, "none", nil)
	if got, want := p.String(), "expr: |-\n  a\n  /\n  b\none: 'it''s'\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
