package types

// Source finds types and constants by the names that C gives them. A Resolver that is a Source too lets scripts name
// the types of the kernel.
type Source interface {
	// Named returns a type by its name; keyword is struct, union, enum, or empty for a typedef.
	Named(keyword, name string) (*Type, bool)
	// Constant returns the value of an enumerator and the enum that it belongs to.
	Constant(name string) (v int64, t *Type, ok bool)
}

// Numbers tells the numbers of types. A Source may be one.
type Numbers interface {
	// TypeID is the number that a type has in the kernel's BTF; keyword is struct, union or enum.
	TypeID(keyword, name string) (uint32, bool)
}
