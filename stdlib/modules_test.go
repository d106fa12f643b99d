package stdlib

import (
	"cmp"
	"fmt"
	"testing"

	"github.com/slopebpf/slope/bpf/bpftest"
	"github.com/slopebpf/slope/bpf/btf"
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
