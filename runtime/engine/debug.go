package engine

import (
	"fmt"

	"github.com/slopebpf/slope/bpf"
)

func (e *Engine) DumpMaps() {
	for _, m := range e.obj.IR.Maps {
		if e.maps[m] == nil || m.KeySize == 0 {
			continue
		}
		n := 0
		bpf.ReadAll(e.maps[m], func(k, v []byte) error {
			n++
			if n < 5 {
				fmt.Printf("%s %x %x\n", m.Name, k, v[:min(len(v), 64)])
			}
			return nil
		})
		fmt.Println(m.Name, n)
	}
}
