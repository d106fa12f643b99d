package edit_test

import (
	"testing"

	"github.com/slopebpf/slope/repl/edit"
)

// FuzzDecoder feeds the same bytes at once and one by one: the runes are the same, and nothing is a mark that was typed.
func FuzzDecoder(f *testing.F) {
	for _, s := range []string{"abc\r", "\x1b[A\x1b[1;5C\x1bb\x1b\x1b[3~", "\x1b[200~a\nb\x1b[201~c", "\x1b[200~open", "漢\xff\x1bOH\x00", "\uf501\x1b[<0;1;2M", "\x1b[200~\x1b[20\x1b[201~"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var whole, split edit.Decoder
		whole.Feed(b)
		a := whole.Take()
		var c []rune
		for i := range b {
			split.Feed(b[i : i+1])
			c = append(c, split.Take()...)
		}
		if string(a) != string(c) {
			t.Fatalf("at once %q, one by one %q", string(a), string(c))
		}
		if len(a) > len(b) {
			t.Fatalf("%d bytes became %d runes", len(b), len(a))
		}
		whole.Late()
	})
}

func TestClean(t *testing.T) {
	for in, want := range map[string]string{
		"plain":                  "plain",
		"a\tb":                   "a       b",
		"\x1b[31mred\x1b[0m":     "\x1b[31mred\x1b[0m",
		"\x1b[31mred\nnext":      "\x1b[31mred\x1b[0m\nnext",
		"\x1b[2J\x1b]0;title\a!": "^[[2J^[]0;title^G!",
		"back\bspace\r":          "back^Hspace",
		"\xff\u202e":             "\ufffd\ufffd",
	} {
		if got := edit.Clean(in, true); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
	if got := edit.Clean("\x1b[31mred\x1b[0m", false); got != "red" {
		t.Errorf("without colours: %q", got)
	}
}

func TestFit(t *testing.T) {
	for _, c := range []struct {
		in    string
		width int
		want  string
	}{{"abc", 3, "abc"}, {"abcd", 3, "ab…"}, {"漢字", 3, "漢…"}, {"漢字", 4, "漢字"}, {"漢字", 2, "…"}, {"\x1b[1mabcd\x1b[0m", 3, "\x1b[1mab…\x1b[0m"}, {"a", 0, ""}} {
		if got := edit.Fit(c.in, c.width); got != c.want {
			t.Errorf("%q in %d: got %q, want %q", c.in, c.width, got, c.want)
		}
	}
}
