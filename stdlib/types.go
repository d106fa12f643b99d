package stdlib

import "github.com/slopebpf/slope/lang/types"

// Named implements types.Source by the kernel's BTF.
func (m *Machine) Named(keyword, name string) (*types.Type, bool) {
	ix, err := m.BTF()
	if err != nil {
		return nil, false
	}
	t, err := ix.Named(keyword, name)
	return t, err == nil
}

// Constant implements types.Source by the kernel's BTF.
func (m *Machine) Constant(name string) (int64, *types.Type, bool) {
	ix, err := m.BTF()
	if err != nil {
		return 0, nil, false
	}
	v, t, err := ix.Enumerator(name)
	return v, t, err == nil
}
