package symbols

import "debug/elf"

// Fixed finds the function at an address of a process that is gone and of which nothing was read, in its program: one
// that is not moved when it is loaded, as those of Go are unless they are built to be.
func (p *Processes) Fixed(pid int, program string, addr uint64) (name string, offset uint64, ok bool) {
	if p.byID[pid] != nil {
		return "", 0, false
	}
	f := p.functions(pid, &Mapping{Path: program})
	if f == nil || f.file.file.Type != elf.ET_EXEC {
		return "", 0, false
	}
	for _, s := range f.file.file.Progs {
		if s.Type == elf.PT_LOAD && s.Flags&elf.PF_X != 0 && addr >= s.Vaddr && addr-s.Vaddr < s.Memsz {
			name, offset = f.find(addr)
			return p.source(name), offset, name != ""
		}
	}
	return "", 0, false
}
