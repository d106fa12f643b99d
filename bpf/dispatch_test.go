package bpf

import (
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"

	"github.com/slopebpf/slope/bpf/bpftest"
)

// TestDispatcher runs the program of the side that is chosen, and none where there is none.
func TestDispatcher(t *testing.T) {
	bpftest.Require(t, new(Features).TestRun())
	word, err := NewSide()
	if err != nil {
		t.Fatal(err)
	}
	defer word.Close()
	d, err := NewDispatcher(ProgSpec{Name: "d", Type: ebpf.RawTracepoint}, word)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	is := func(what string, want uint32) {
		t.Helper()
		if got, err := TestRun(d.Program, []uint64{5}, -1); err != nil || got != want {
			t.Errorf("%s: got %d, %v, want %d", what, got, err, want)
		}
	}
	is("without programs", 0)
	for side := range Sides {
		p := loadProg(t, ProgSpec{Type: ebpf.RawTracepoint, Insns: asm.Instructions{ // the context arrives
			asm.LoadMem(asm.R0, asm.R1, 0, asm.DWord), asm.Add.Imm(asm.R0, int32(10*(side+1))), asm.Return()}})
		if err := d.Set(side, p); err != nil {
			t.Fatal(err)
		}
	}
	is("first side", 15)
	if err := SetSide(word, 1); err != nil {
		t.Fatal(err)
	}
	is("second side", 25)
	if err := d.Clear(1); err != nil {
		t.Fatal(err)
	}
	is("cleared", 0)
	if err := d.Clear(1); err != nil {
		t.Error("to clear again:", err)
	}
	if err := SetSide(word, 0); err != nil {
		t.Fatal(err)
	}
	is("first side again", 15)
	if err := Quiesce(); err != nil {
		t.Error(err)
	}
}

// BenchmarkDispatcher is what a dispatcher adds to a run, and what it takes to change sides.
func BenchmarkDispatcher(b *testing.B) {
	bpftest.Require(b, new(Features).TestRun())
	word, err := NewSide()
	if err != nil {
		b.Fatal(err)
	}
	defer word.Close()
	d, err := NewDispatcher(ProgSpec{Name: "d", Type: ebpf.RawTracepoint}, word)
	if err != nil {
		b.Fatal(err)
	}
	defer d.Close()
	p := loadProg(b, ProgSpec{Type: ebpf.RawTracepoint, Insns: asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()}})
	if err := d.Set(0, p); err != nil {
		b.Fatal(err)
	}
	for _, c := range []struct {
		name string
		run  func() error
	}{
		{"direct", func() error { _, err := TestRun(p, nil, -1); return err }},
		{"dispatched", func() error { _, err := TestRun(d.Program, nil, -1); return err }},
		{"switch", func() error { return SetSide(word, 0) }},
		{"quiesce", Quiesce},
	} {
		b.Run(c.name, func(b *testing.B) {
			for b.Loop() {
				if err := c.run(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
