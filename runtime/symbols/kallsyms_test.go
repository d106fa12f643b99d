package symbols

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/slopebpf/slope/bpf/bpftest"
)

// TestKernelLookup finds functions by address: of several names of one the first, none in the data behind them.
func TestKernelLookup(t *testing.T) {
	k, err := readKernel(strings.NewReader(`0000000000000000 A fixed_percpu_data
ffffffff81000000 T _text
ffffffff81001000 t vfs_read
ffffffff81002000 T first
ffffffff81002000 T second
ffffffff81800000 T _etext
ffffffff82000000 D jiffies
ffffffffc0001000 t of_module	[module]
ffffffffc0009000 T _einittext
`))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		addr   uint64
		name   string
		offset uint64
	}{
		{0xffffffff81001000, "vfs_read", 0}, {0xffffffff81001fff, "vfs_read", 0xfff}, {0xffffffff81002004, "first", 4}, {0xffffffff81800000, "", 0},
		{0xffffffff82000000, "", 0}, {0xffffffffc0001008, "of_module", 8}, {0xffffffffc0009001, "", 0}, {1, "", 0}, {0, "", 0},
	} {
		name, offset, ok := k.Lookup(c.addr)
		if name != c.name || offset != c.offset || ok != (name != "") {
			t.Errorf("%x: got %q+%d, %t, want %q+%d", c.addr, name, offset, ok, c.name, c.offset)
		}
	}
	if _, err := readKernel(strings.NewReader("0000000000000000 T hidden\n")); err == nil {
		t.Error("no addresses: no error")
	}
}

// TestKernelModules reads the module that a symbol is of.
func TestKernelModules(t *testing.T) {
	var got string
	for s := range kernelSymbols(strings.NewReader("ffffffff81001000 t vfs_read\nffffffffc0001000 t of_module\t[module]\nffffffffc0002000 d data\t[module]\n")) {
		got += fmt.Sprintf("%s:%s %t ", s.module, s.name, s.function())
	}
	if want := ":vfs_read true module:of_module true module:data false "; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestKernelSymbol finds a function by its name, and by its address again.
func TestKernelSymbol(t *testing.T) {
	k, err := OpenKernel()
	bpftest.Require(t, err)
	addr, kind, err := KernelSymbol("vfs_read")
	if name, offset, _ := k.Lookup(addr); err != nil || kind|0x20 != 't' || name != "vfs_read" || offset != 0 {
		t.Errorf("got %#x, %c, %v, which is %s+%d", addr, kind, err, name, offset)
	}
	if _, _, err := KernelSymbol("vfs_reed"); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
}
