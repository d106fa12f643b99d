package bpf

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"
)

// Sides is how many programs a Dispatcher has, of which one runs.
const Sides = 2

// NewSide makes the word that says which side of every Dispatcher on it runs: a map of one number, which is 0. One write
// of it moves all of them at one instant.
func NewSide() (*ebpf.Map, error) {
	return NewMap(MapSpec{Name: "side", Type: ebpf.Array, KeySize: 4, ValueSize: 8, MaxEntries: 1})
}

// SetSide chooses the side that runs from now on. A program that was running goes on to its end: see Quiesce.
func SetSide(word *ebpf.Map, side int) error {
	var value [8]byte // only one byte ever changes, so that no program can read half a number
	binary.LittleEndian.PutUint64(value[:], uint64(side))
	if err := word.Put(uint32(0), value[:]); err != nil {
		return fmt.Errorf("choose side: %w", err)
	}
	return nil
}

// Dispatcher is a program that is attached in place of others: each of its runs reads the word of the side once and
// continues in that side's program, or ends where there is none. So every event is seen by exactly one of two
// programs, however they are replaced, and what the kernel keeps for a program that is attached (its guard against
// running twice on a CPU, its statistics) goes on from one to the next.
type Dispatcher struct {
	Program *ebpf.Program // to attach
	sides   *ebpf.Map
}

// NewDispatcher makes a dispatcher for programs that are loaded as spec says: name, type, and what it is attached as.
//
// The jump is a tail call at a constant index, which the kernel's compiler makes a direct jump that it rewrites when the
// index gets another program (5.5).
func NewDispatcher(spec ProgSpec, word *ebpf.Map) (*Dispatcher, error) {
	sides, err := NewMap(MapSpec{Name: spec.Name, Type: ebpf.ProgramArray, KeySize: 4, ValueSize: 4, MaxEntries: Sides})
	if err != nil {
		return nil, err
	}
	spec.Insns = asm.Instructions{
		asm.LoadMapValue(asm.R2, word.FD(), 0),
		asm.LoadMem(asm.R3, asm.R2, 0, asm.DWord),
		asm.LoadMapPtr(asm.R2, sides.FD()),
		asm.JNE.Imm(asm.R3, 0, "other"),
		asm.Mov.Imm(asm.R3, 0),
		asm.FnTailCall.Call(),
		asm.Mov.Imm(asm.R0, 0),
		asm.Return(),
		asm.Mov.Imm(asm.R3, 1).WithSymbol("other"),
		asm.FnTailCall.Call(),
		asm.Mov.Imm(asm.R0, 0),
		asm.Return(),
	}
	prog, err := Load(spec)
	if err != nil {
		sides.Close()
		return nil, err
	}
	return &Dispatcher{prog, sides}, nil
}

// Set puts a program on a side.
func (d *Dispatcher) Set(side int, prog *ebpf.Program) error {
	if err := d.sides.Put(uint32(side), uint32(prog.FD())); err != nil {
		return fmt.Errorf("set program of a dispatcher: %w", err)
	}
	return nil
}

// Clear takes the program of a side away.
func (d *Dispatcher) Clear(side int) error {
	if err := d.sides.Delete(uint32(side)); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return fmt.Errorf("clear program of a dispatcher: %w", err)
	}
	return nil
}

// Close frees the dispatcher. Whoever attached it detaches it before.
func (d *Dispatcher) Close() error {
	return errors.Join(d.Program.Close(), d.sides.Close())
}

// Quiesce waits until every program that was running when it was called has ended: for a grace period of RCU, which
// programs run under. It fails where the kernel has no such call, or keeps CPUs free of ticks (nohz_full).
func Quiesce() error {
	const global = 1 // MEMBARRIER_CMD_GLOBAL, which is synchronize_rcu
	if _, _, errno := unix.Syscall(unix.SYS_MEMBARRIER, global, 0, 0); errno != 0 {
		return fmt.Errorf("wait for running programs: %w", errno)
	}
	return nil
}
