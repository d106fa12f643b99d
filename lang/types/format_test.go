package types_test

import (
	"strings"
	"testing"

	"github.com/slopebpf/slope/lang/types"
)

// FuzzParseFormat: any format is refused, or its pieces are what it was made of.
func FuzzParseFormat(f *testing.F) {
	for _, s := range []string{"%d %-16s|%*.*s\n", "%%", "%r%rx%rh", "%#lx %hhu %jd", "%.f", "%5", "100%", "%gr", "%99999999999999999d"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, format string) {
		list, err := types.ParseFormat(format)
		if err != nil {
			return
		}
		var literal strings.Builder
		last, verbs := -1, 0
		for _, d := range list {
			if d.Literal != "" {
				literal.WriteString(d.Literal)
				if d.Verb != "" {
					t.Fatalf("%q: both text and a conversion: %+v", format, d)
				}
				continue
			}
			if verbs++; d.Start <= last || format[d.Start] != '%' || !strings.Contains(format[d.Start:], d.Verb) || d.Verb == "" {
				t.Fatalf("%q: %+v", format, d)
			}
			if d.StarW && d.Width >= 0 || d.StarP && d.Prec >= 0 || d.Width > 10<<20 || d.Prec > 10<<20 {
				t.Fatalf("%q: %+v", format, d)
			}
			last = d.Start
		}
		if n := strings.Count(format, "%"); verbs > n {
			t.Fatalf("%q: %d conversions", format, verbs)
		}
		if !strings.Contains(format, "%") && literal.String() != format {
			t.Fatalf("%q: became %q", format, literal.String())
		}
	})
}
