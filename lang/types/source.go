package types

// Source finds types and constants by the names that C gives them. A Resolver that is a Source too lets scripts name
// the types of the kernel.
type Source interface {
	// Named returns a type by its name; keyword is struct, union, enum, or empty for a typedef.
	Named(keyword, name string) (*Type, bool)
	// Constant returns the value of an enumerator and the enum that it belongs to.
	Constant(name string) (v int64, t *Type, ok bool)
}
