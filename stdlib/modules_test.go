package stdlib

import (
	"cmp"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/slopebpf/slope/bpf/bpftest"
	"github.com/slopebpf/slope/bpf/btf"
	"github.com/slopebpf/slope/lang/source"
	"github.com/slopebpf/slope/lang/syntax"
	"github.com/slopebpf/slope/lang/types"
)

// TestPlaces probes each of the functions of a name that a module has, by its address: by its name the kernel takes one of
// them, or none.
func TestPlaces(t *testing.T) {
	for _, c := range []struct {
		addresses []uint64
		want      string
	}{
		{nil, "m:f 0x0 "},
		{[]uint64{0xffffffffc0001000}, "m:f 0xffffffffc0001000 "},
		{[]uint64{0xffffffffc0001000, 0xffffffffc0002000}, "0xffffffffc0001000 0xffffffffc0001000 0xffffffffc0002000 0xffffffffc0002000 "},
	} {
		got := ""
		for _, one := range places(types.Target{Name: "kprobe:m:f", Hook: types.Hook{Kind: types.HookKprobe, Event: "m:f"}}, c.addresses) {
			if got += fmt.Sprintf("%s %#x ", one.Hook.Event, one.Hook.Address); one.Name != "kprobe:m:f" {
				t.Errorf("the target is called %s", one.Name)
			}
		}
		if got != c.want {
			t.Errorf("%x: got %q, want %q", c.addresses, got, c.want)
		}
	}
}

// TestAllTypes asks only the types of the modules that a pattern means, after the kernel's.
func TestAllTypes(t *testing.T) {
	m := &Machine{}
	base, err := m.BTF()
	bpftest.Require(t, err)
	defer m.Close()
	defer func() { m.modules = nil }() // whose types are the kernel's here
	for pattern, want := range map[string]string{"*": "vmlinux kvm kvm_amd ", "vmlinux": "vmlinux ", "kvm": "kvm ", "kvm_*": "kvm_amd ", "?*m*": "vmlinux kvm kvm_amd ", "x": ""} {
		m.modules = []*module{{name: "kvm", types: base}, {name: "kvm_amd", types: base}}
		got := ""
		err := m.allTypes(pattern, func(mod string, _ *btf.Index) bool {
			got += cmp.Or(mod, kernelItself) + " "
			return true
		})
		if err != nil || got != want {
			t.Errorf("%s: got %q, %v, want %q", pattern, got, err, want)
		}
	}
}

// TestNamedFunction resolves a function that a trampoline is to serve by its type alone: the list of all functions is not read, which
// would take longer than all else.
func TestNamedFunction(t *testing.T) {
	reg := New()
	for _, probe := range []string{"fentry", "fexit", "kprobe", "kretprobe"} {
		m := &Machine{Registry: reg, Fentry: true}
		_, err := m.BTF()
		bpftest.Require(t, err)
		defer m.Close()
		targets, err := m.Resolve(reg.Probe(probe), &syntax.AttachPoint{Parts: []string{probe, "vfs_read"}})
		if err != nil || len(targets) != 1 || targets[0].Hook.ID == 0 || targets[0].Hook.Event != "vfs_read" {
			t.Fatalf("%s: %v, %v", probe, targets, err)
		}
		if m.kernelFuncs != nil || m.traced != nil {
			t.Errorf("%s: the list of all functions was read", probe)
		}
		_, err = m.Resolve(reg.Probe(probe), &syntax.AttachPoint{Parts: []string{probe, "vfs_rea"}})
		if want := "the kernel has no function 'vfs_rea'"; err == nil || err.Error() != want {
			t.Errorf("%s: got %v, want %s", probe, err, want)
		}
	}
}

// TestCopiesAreSought reads the inlined calls of a Go program only where somebody is told of them.
func TestCopiesAreSought(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	reg := New()
	for _, told := range []bool{true, false} {
		warnings := 0
		m := &Machine{Registry: reg}
		defer m.Close()
		if told {
			m.Warn = func(source.Span, string, string) { warnings++ }
		}
		for range 2 {
			point := &syntax.AttachPoint{Parts: []string{"uprobe", self, "strings.(*Builder).WriteString"}}
			if targets, err := m.Resolve(reg.Probe("uprobe"), point); err != nil || len(targets) != 1 {
				t.Fatal(targets, err)
			}
		}
		if sought := len(m.copied) > 0; sought != told || (warnings == 1) != told {
			t.Errorf("told %t: sought %t, %d warnings", told, sought, warnings)
		}
	}
}

// TestNothingFits has patterns of which nothing is left: the error is about all of their functions, not about one of them.
func TestNothingFits(t *testing.T) {
	reg := New()
	m := &Machine{Registry: reg, Fentry: true}
	base, err := m.BTF()
	bpftest.Require(t, err)
	defer m.Close()
	defer func() { m.modules = nil }() // whose types are the kernel's here
	functions := func(of string) []kernelFunction {
		return []kernelFunction{{module: of, name: "seq_printf", traced: true}, {module: of, name: "slope_no_such", traced: true}}
	}
	m.modules = []*module{{name: "bare", functions: functions("bare")}, {name: "typed", types: base, functions: functions("typed")}}
	for point, want := range map[string]string{
		"bare:*":  "there is no type information of the module 'bare': the kernel has it since Linux 5.11, if it is built with CONFIG_DEBUG_INFO_BTF_MODULES",
		"typed:*": "fentry:typed:* leaves out 2 of 2 functions; takes any number of arguments: 1 (typed:seq_printf); has no type information: 1 (typed:slope_no_such)",
		"?*d:s*":  "fentry:?*d:s* leaves out 2 of 2 functions; takes any number of arguments: 1 (typed:seq_printf); has no type information: 1 (typed:slope_no_such)",
		"b*:s*":   "there is no type information of the module 'bare': the kernel has it since Linux 5.11, if it is built with CONFIG_DEBUG_INFO_BTF_MODULES",
		"[bt]*:seq_*": "fentry:[bt]*:seq_* leaves out 2 of 2 functions; has no type information: 1 (bare:seq_printf); " +
			"takes any number of arguments: 1 (typed:seq_printf)",
	} {
		parts := append([]string{"fentry"}, strings.Split(point, ":")...)
		_, err := m.Resolve(reg.Probe("fentry"), &syntax.AttachPoint{Parts: parts})
		if err == nil || err.Error() != want {
			t.Errorf("%s: got %v, want %s", point, err, want)
		}
	}
}

// TestMatchedBeforeTyped lists functions that trampolines can serve: types are read of those whose names match.
func TestMatchedBeforeTyped(t *testing.T) {
	reg := New()
	m := &Machine{Registry: reg}
	_, err := m.BTF()
	bpftest.Require(t, err)
	defer m.Close()
	for _, row := range reg.probes {
		row.list = nil
	}
	reg.probes["fentry"].list = func(m *Machine, p *types.Probe, rest string) listing {
		return listFunctionsBy(m, p, types.HookFentry, functionWay{trampoline: true}, rest)
	}
	read := func() bool { return m.ids != nil || m.trampolines != nil }
	got := func(pattern string) (names []string) {
		t.Helper()
		if err := m.List(pattern, func(l Listed) bool { names = append(names, l.Name); return true }); err != nil {
			t.Fatal(err)
		}
		return names
	}
	if none := got("*no_such_*_function*"); len(none) > 0 || read() {
		t.Errorf("got %q, types were read: %t", none, read())
	}
	if one := got("*:vfs_rea?"); !slices.Equal(one, []string{"fentry:vfs_read"}) || !read() {
		t.Errorf("got %q, types were read: %t", one, read())
	}
	if refused := got("*:seq_print[f]"); len(refused) > 0 {
		t.Errorf("got %q, which no trampoline serves", refused)
	}
}
