package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/slopebpf/slope/compiler"
	"github.com/slopebpf/slope/lang/source"
)

// Compiling is how long a script takes from its text to its bytecode, warm: the least of some rounds.
type Compiling struct {
	Name  string
	Time  time.Duration
	Insns int // of all programs, before the kernel has seen them
}

// sixty is a script of 60 lines such as people write: a latency by file and process, errors, and a report.
func sixty() string {
	var b strings.Builder
	b.WriteString("config = { missing_probes = \"warn\" }\nmacro ms(ns) { ns / 1000000 }\nbegin {\n\tprintf(\"%-8s %-16s %s\\n\", \"PID\", \"COMM\", \"ms\");\n}\n")
	for _, call := range strings.Fields("read write openat close futex") {
		fmt.Fprintf(&b, "tracepoint:syscalls:sys_enter_%[1]s {\n\t@start_%[1]s[tid] = nsecs; @calls[\"%[1]s\", comm] = count();\n}\n"+
			"tracepoint:syscalls:sys_exit_%[1]s /@start_%[1]s[tid]/ {\n\t$took = nsecs - @start_%[1]s[tid];\n"+
			"\t@ns_%[1]s[comm] = hist($took);\n\tif (ms($took) > 10) {\n\t\tprintf(\"%%-8d %%-16s %%d\\n\", pid, comm, ms($took));\n\t}\n\tdelete(@start_%[1]s, tid);\n}\n", call)
	}
	return b.String()
}

// assignments is a script of n assignments to a map.
func assignments(n int) string {
	var b strings.Builder
	b.WriteString("begin {\n")
	for i := range n {
		fmt.Fprintf(&b, "\t@m[%d] = %d;\n", i, 3*i)
	}
	b.WriteString("}\n")
	return b.String()
}

// compiling measures the compiler.
func (k *kernel) compiling(opt options) ([]Compiling, error) {
	var out []Compiling
	for _, s := range []struct{ name, text string }{
		{"60 lines", sixty()}, {"1 000 assignments to a map", assignments(1000)}, {"4 000 assignments to a map", assignments(4000)},
	} {
		one := Compiling{Name: s.name}
		for range 1 + opt.starts { // the first warms up
			begun := time.Now()
			obj, diags := compiler.Compile(source.NewFile("bench.slo", s.text), k.compile)
			took := time.Since(begun)
			if diags.HasErrors() {
				return nil, fmt.Errorf("compile %s: %w", s.name, diags)
			}
			if one.Insns == 0 || took < one.Time {
				one.Time = took
			}
			one.Insns = 0
			for _, c := range obj.Code {
				one.Insns += len(c.Insns)
			}
		}
		out = append(out, one)
	}
	return out, nil
}
