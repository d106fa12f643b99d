package stdlib_test

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/slopebpf/slope/bpf"
	"github.com/slopebpf/slope/bpf/bpftest"
	"github.com/slopebpf/slope/compiler"
	"github.com/slopebpf/slope/lang/source"
	"github.com/slopebpf/slope/lang/syntax"
	"github.com/slopebpf/slope/lang/types"
	"github.com/slopebpf/slope/stdlib"
)

// TestTrampolinePatterns resolves patterns of functions that a trampoline each is to serve: what trampolines refuse is left out
// and told, and there is a limit.
func TestTrampolinePatterns(t *testing.T) {
	reg := stdlib.New()
	var told []string
	machine := &stdlib.Machine{Registry: reg, Fentry: true, Verbose: func(line string) { told = append(told, line) }}
	defer machine.Close()
	if _, err := machine.BTF(); err != nil {
		bpftest.Require(t, err)
	}
	resolve := func(parts ...string) (int, error) {
		targets, err := machine.Resolve(reg.Probe(parts[0]), &syntax.AttachPoint{Parts: parts})
		return len(targets), err
	}
	few, err := resolve("fentry", "vmlinux", "seq_p*")
	if err != nil || few == 0 {
		t.Fatal(few, err)
	}
	want := regexp.MustCompile(`^fentry:vmlinux:seq_p\* leaves out \d+ of \d+ functions; .*takes any number of arguments: \d+ \(.*seq_printf`)
	if len(told) != 1 || !want.MatchString(told[0]) {
		t.Errorf("told %q, want %s", told, want)
	}
	if _, err := resolve("fentry", "seq_printf"); err == nil || !strings.Contains(err.Error(), "'seq_printf' takes any number of arguments, so the kernel has no trampoline for it") {
		t.Errorf("got %v", err)
	}
	for script, limit := range map[string]string{
		"fentry:vmlinux:* { }": "1024", "fexit:vmlinux:* { }": "1024", "kprobe:vmlinux:* { }": "1024", "kretprobe:vmlinux:* { }": "1024",
		"config = { max_probes = 1 } fentry:vfs_read { } fexit:vfs_read { }": "1", "config = { max_probes = 1 } fentry:vfs_read { } fentry:vfs_read /pid == 1/ { }": "",
		"config = { max_probes = 2 } fentry:vfs_read, fexit:vfs_read { } fentry:vfs_write { } fentry:vfs_fsync { }": "2", "config = { max_probes = 5000 } fentry:vmlinux:seq_p* { }": "",
	} {
		_, diags := compiler.Check(source.NewFile("f.slo", script), compiler.Options{Universe: reg, Library: reg, Resolver: machine, Config: types.DefaultConfig()})
		if text := fmt.Sprint(diags); diags.HasErrors() != (limit != "") || limit != "" && strings.Count(text, "ERROR") != 1 || limit != "" && !strings.Contains(text, "each of which needs a program of its own: the limit is "+limit) {
			t.Errorf("%s: %s", script, text)
		}
	}
	byKprobe := &stdlib.Machine{Registry: reg}
	defer byKprobe.Close()
	if new(bpf.Features).Kprobe() != nil {
		return // it is for the kernel matrix
	}
	if targets, err := byKprobe.Resolve(reg.Probe("kprobe"), &syntax.AttachPoint{Parts: []string{"kprobe", "vmlinux", "*"}}); err != nil || len(targets) < 10000 {
		t.Errorf("kprobes: %d functions, %v", len(targets), err)
	}
}

// TestForcedWay asks for a way to attach kprobes: where the kernel has none that is an error.
func TestForcedWay(t *testing.T) {
	machine := &stdlib.Machine{Registry: stdlib.New(), Forced: true}
	defer machine.Close()
	targets, err := machine.Resolve(machine.Registry.Probe("kprobe"), &syntax.AttachPoint{Parts: []string{"kprobe", "vfs_read"}})
	if lacks := new(bpf.Features).Kprobe(); lacks != nil && (err == nil || !strings.Contains(err.Error(), lacks.Error())) {
		t.Errorf("got %v, want %v", err, lacks)
	} else if lacks == nil && (err != nil || targets[0].Hook.Kind != types.HookKprobe) {
		t.Errorf("got %v, %v", targets, err)
	}
}

// TestForcedKprobe asks for kprobes to serve fentry and fexit: where the kernel has none that is an error, also where kprobes are to be
// served by trampolines.
func TestForcedKprobe(t *testing.T) {
	reg := stdlib.New()
	for _, swapped := range []bool{false, true} {
		machine := &stdlib.Machine{Registry: reg, Kprobe: true, Fentry: swapped}
		defer machine.Close()
		if _, err := machine.BTF(); err != nil {
			bpftest.Require(t, err)
		}
		for probe, want := range map[string]types.HookKind{"fentry": types.HookKprobe, "fexit": types.HookKretprobe} {
			targets, err := machine.Resolve(reg.Probe(probe), &syntax.AttachPoint{Parts: []string{probe, "vfs_read"}})
			if lacks := new(bpf.Features).Kprobe(); lacks != nil {
				if want := "--attach asks for kprobes to serve " + probe + ":vfs_read: " + lacks.Error(); err == nil || err.Error() != want {
					t.Errorf("got %v, want %s", err, want)
				}
			} else if err != nil || len(targets) != 1 || targets[0].Hook.Kind != want {
				t.Errorf("%s: got %v, %v", probe, targets, err)
			}
		}
		if !swapped {
			continue
		}
		if targets, err := machine.Resolve(reg.Probe("kprobe"), &syntax.AttachPoint{Parts: []string{"kprobe", "vfs_read"}}); err != nil || targets[0].Hook.Kind != types.HookFentry {
			t.Errorf("kprobe: got %v, %v", targets, err)
		}
	}
}
