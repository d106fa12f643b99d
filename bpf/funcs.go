package bpf

import (
	"encoding/binary"
	"fmt"

	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"

	"github.com/slopebpf/slope/bpf/internal/sys"
)

// Functions that a helper calls back need a type: programs with such functions are loaded with a BTF of their own, in
// which every function has the same one.

// functions finds where the functions of a program start: at its beginning, and where it takes an address.
func functions(insns asm.Instructions) []uint32 {
	var starts []uint32
	at := 0
	for i := range insns {
		ins := &insns[i]
		if ins.OpCode.IsDWordLoad() && ins.Src == asm.PseudoFunc {
			start := uint32(at + int(int32(ins.Constant)) + 1)
			known := false
			for _, s := range starts {
				known = known || s == start
			}
			if !known {
				starts = append(starts, start)
			}
		}
		at += int(ins.Width())
	}
	if starts == nil {
		return nil
	}
	return append([]uint32{0}, starts...)
}

// The ids of the types in funcBTF.
const funcType = 3

// funcBTF is a BTF blob with an int (1), a prototype that returns it (2), and a static function (3).
func funcBTF() []byte {
	le := binary.LittleEndian
	strs := "\x00int\x00f\x00"
	var types []byte
	put := func(words ...uint32) {
		for _, w := range words {
			types = le.AppendUint32(types, w)
		}
	}
	const kindInt, kindFunc, kindProto = 1, 12, 13
	put(1, kindInt<<24, 4, 1<<24|32) // signed, 32 bits
	put(0, kindProto<<24, 1)
	put(5, kindFunc<<24, 2)
	out := le.AppendUint16(nil, 0xeb9f)
	out = append(out, 1, 0)
	for _, w := range []uint32{24, 0, uint32(len(types)), uint32(len(types)), uint32(len(strs))} {
		out = le.AppendUint32(out, w)
	}
	return append(append(out, types...), strs...)
}

// loadFuncBTF loads the blob; the program keeps it.
func loadFuncBTF() (int, error) {
	blob := funcBTF()
	attr := sys.BTFLoadAttr{BTF: sys.Ptr(blob), Size: uint32(len(blob))}
	fd, err := sys.BPF(sys.BTFLoad, &attr)
	if err != nil {
		return -1, fmt.Errorf("load BTF of functions: %w", err)
	}
	return fd, nil
}

// withFuncs adds the types of a program's functions to what it is loaded with; done drops what is no longer needed.
func withFuncs(attr *sys.ProgLoadAttr, starts []uint32) (done func(), err error) {
	if len(starts) == 0 {
		return func() {}, nil
	}
	fd, err := loadFuncBTF()
	if err != nil {
		return nil, err
	}
	infos := make([]byte, 0, 8*len(starts))
	for _, s := range starts {
		infos = binary.LittleEndian.AppendUint32(infos, s)
		infos = binary.LittleEndian.AppendUint32(infos, funcType)
	}
	attr.BTFFD, attr.FuncInfo, attr.FuncInfoCnt, attr.FuncInfoRecSize = uint32(fd), sys.Ptr(infos), uint32(len(starts)), 8
	return func() { unix.Close(fd) }, nil
}
