package ir

import "github.com/slopebpf/slope/lang/source"

// Unwind are the maps by which programs find the callers in user space where there are no frame pointers. User space
// fills them (package unwind).
type Unwind struct {
	Processes *Map // by process: what it has mapped, see the words below
	Rows      *Map // one value: the rows of all tables
	Span      source.Span
}

// The words of a process in Unwind.Processes: its address space, as Kernel.Space has it, 0 for any; how many of its stacks were
// found; how many mappings there are, and from UnwindFirst on the words of each.
const (
	UnwindSpace = iota
	UnwindUsed
	UnwindCount
	UnwindFirst
)

// The words of a mapping, by address: where it starts and ends, how much higher it is than it was linked, the number of
// its first row, and how many there are.
const (
	MappingStart = iota
	MappingEnd
	MappingBias
	MappingRow
	MappingRows
	MappingWords
)

// What there is room for.
const (
	UnwindMappings  = 256 // of one process
	UnwindProcesses = 1024
	UnwindRow       = 8 // bytes
)

// UnwindWords is how many words a process takes.
const UnwindWords = UnwindFirst + UnwindMappings*MappingWords
