package vet_test

import (
	"regexp"
	"strings"
	"testing"

	"github.com/slopebpf/slope/lang/check"
	"github.com/slopebpf/slope/lang/source"
	"github.com/slopebpf/slope/lang/syntax"
	"github.com/slopebpf/slope/lang/vet"
	"github.com/slopebpf/slope/stdlib"
)

// lines are one script; what vet says of a line stands behind it.
const lines = `sli calls[who] { tracepoint:raw_syscalls:sys_exit { event(args.ret >= 0, comm); } }
sli lonely { tracepoint:raw_syscalls:sys_exit { good(); } } // sli 'lonely' has no objective
sli many[t, n] { tracepoint:raw_syscalls:sys_exit { event(true, tid, nsecs()); } } // label 't' has a value of its own // label 'n' has a value of its own
sli span { unit = seconds; uprobe:/bin/app:main.(*Server).serve { start(tid); } goret:/bin/app:main.(*Server).serve { observe(stop(goid)); } } // keyed by the thread
sli c { unit = seconds; uprobe:libc:read { start(tid); } uretprobe:libc:read { observe(stop(tid)); } }
slo fine = 99% of calls over 30d;
slo quiet = 99% of many over 30d { page = none; ticket = none; } // slo 'quiet' has no alert
slo low = 20% of calls over 30d { page = burn(1.1, 1h, 5m); } // an objective of 20% allows more bad events than good ones
slo strict = 99.999% of calls over 30d; // without min_events
slo strict2 = 99.999% of calls over 30d { min_events = 1000; }
slo spans = 99% of span <= 1s over 30d;
slo cs = 99% of c <= 1s over 30d;
slo both = all(fine: 1, spans: 1);
`

func TestScript(t *testing.T) {
	file := source.NewFile("vet.slo", lines)
	tree, diags := syntax.Parse(file)
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	prog, diags := check.Declarations(tree, stdlib.New())
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	said := map[int][]string{}
	for _, d := range vet.Script(prog) {
		line := 1 + strings.Count(lines[:d.Span.Start], "\n")
		said[line] = append(said[line], d.Message)
		if d.Severity == source.Error {
			t.Errorf("an error: %s", d.Message)
		}
	}
	for i, line := range strings.Split(lines, "\n") {
		want := strings.Split(line, " // ")[1:]
		got := said[i+1]
		if len(got) != len(want) {
			t.Errorf("line %d: got %q, want %q", i+1, got, want)
			continue
		}
		for k, w := range want {
			if ok, _ := regexp.MatchString(regexp.QuoteMeta(w), got[k]); !ok {
				t.Errorf("line %d: got %q, want %q", i+1, got[k], w)
			}
		}
	}
}
