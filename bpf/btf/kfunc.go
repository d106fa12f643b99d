package btf

import "fmt"

// kfuncTag is what the functions that BPF programs may call are tagged with, by pahole 1.26 and later.
const kfuncTag = "bpf_kfunc"

// KernelFunction returns the id of a function of the kernel that BPF programs may call (a kfunc). Where the blob tags none of
// them, that is any function of the name: which programs may call it is then for the kernel to say.
func (ix *Index) KernelFunction(name string) (uint32, error) {
	id, err := ix.Find(name, KindFunc)
	if err != nil {
		return 0, err
	}
	tags, tagged := false, false
	for at, off := ix.first, 0; !tagged; at++ {
		r, ok := ix.at(at, off)
		if !ok {
			break
		}
		if r.kind() == KindDeclTag && ix.name(r.name) == kfuncTag {
			tags = true
			f, _ := ix.record(r.sizeType)
			tagged = f.kind() == KindFunc && ix.name(f.name) == name
			if tagged {
				id = f.id
			}
		}
		off += length(r.info)
	}
	if tags && !tagged {
		return 0, fmt.Errorf("find kernel function %s: %w", name, ErrNotFound)
	}
	return id, nil
}
