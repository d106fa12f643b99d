package stdlib

import (
	"fmt"
	"testing"

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
