package check

import (
	"strings"

	"github.com/slopebpf/slope/lang/cdecl"
	"github.com/slopebpf/slope/lang/syntax"
	"github.com/slopebpf/slope/lang/types"
)

// maxArray bounds the elements of an array that a script names: what is larger than the longest string is a mistake.
const maxArray = 16384

// typeOf is the type that a script names; what is wrong with it has been reported when it is types.Bad.
func (c *checker) typeOf(ref *syntax.TypeRef) *types.Type {
	t := c.baseType(ref)
	if t.Kind == types.Invalid {
		return t
	}
	suffix := ref.Suffix
	if len(suffix) > 0 && !suffix[0].Pointer && (t.Kind == types.String || t.Kind == types.Buffer) && t.Size == 0 {
		if suffix[0].Len < 0 || suffix[0].Len > maxArray {
			c.errorf(ref, "got a %s without a size, want %s[1] to %s[%d]", ref.Name, ref.Name, ref.Name, maxArray)
			return types.Bad
		}
		t, suffix = &types.Type{Kind: t.Kind, Size: max(suffix[0].Len, 1)}, suffix[1:]
	}
	if t.Kind == types.Late && t.Late == types.Inet && len(suffix) > 0 && !suffix[0].Pointer {
		if n := suffix[0].Len; n != 4 && n != 16 {
			c.errorf(ref, "got an address of %d bytes, want inet[4] or inet[16]", n)
			return types.Bad
		}
		suffix = suffix[1:]
	}
	for _, s := range suffix {
		switch {
		case s.Pointer:
			t = types.PointerTo(t, c.userSpace())
		case s.Len > maxArray:
			c.errorf(ref, "got an array of %d elements, want at most %d", s.Len, maxArray)
			return types.Bad
		case t.Size == 0 || t.Kind == types.String || t.Kind == types.Tuple:
			c.errorf(ref, "an array cannot have elements of type '%s'", t)
			return types.Bad
		default:
			t = types.ArrayOf(t, s.Len)
		}
	}
	return t
}

// userSpace tells in which address space the numbers of a probe are addresses.
func (c *checker) userSpace() bool {
	if c.target == nil {
		return false
	}
	switch c.target.Hook.Kind {
	case types.HookUprobe, types.HookUretprobe:
		return true
	}
	return false
}

// baseType is the type before its suffixes. A string without a size has Size 0.
func (c *checker) baseType(ref *syntax.TypeRef) *types.Type {
	if ref.Typeof != nil {
		return c.pointer(ref.Typeof)
	}
	if ref.Keyword == "" {
		if t := builtinType(ref.Name); t != nil {
			return t
		}
	}
	if t, ok := c.namedType(ref, ref.Keyword, ref.Name); ok {
		return t
	}
	name := strings.TrimPrefix(ref.Keyword+" "+ref.Name, " ")
	d := c.errorf(ref, "unknown type '%s'", name)
	if ref.Keyword == "" {
		suggest(d, ref.Name, builtinTypes())
	}
	if d.Hint == "" {
		d.WithHint("%s", c.undefined())
	}
	return types.Bad
}

// undefined says where a type was sought.
func (c *checker) undefined() string {
	if c.target != nil && c.target.Debug != nil {
		return "neither the script, nor the debug information of the program, nor the kernel's BTF defines it"
	}
	return "neither the script nor the kernel's BTF defines it"
}

// namedType finds a type of the script's C definitions, then of the program that the clause probes by its whole name, then of the
// kernel, then of the program by a shortened name: that of a type of the kernel still means this.
func (c *checker) namedType(at syntax.Node, keyword, name string) (*types.Type, bool) {
	if t, ok := c.ctypes.Named(keyword, name); ok {
		return t, true
	}
	var debug types.Debug
	if c.target != nil {
		debug = c.target.Debug
	}
	var t *types.Type
	var err error
	if debug != nil {
		t, err = debug.Named(keyword, name)
	}
	if t == nil && err == nil {
		t = c.kernelType(keyword, name)
	}
	if t == nil && err == nil && debug != nil {
		t, err = debug.Shortened(keyword, name)
	}
	if err != nil {
		c.errorf(at, "%s", err)
		return types.Bad, true
	}
	return t, t != nil
}

// kernelType finds a type of the kernel, nil without one.
func (c *checker) kernelType(keyword, name string) *types.Type {
	src, ok := c.opt.Resolver.(types.Source)
	if !ok {
		return nil
	}
	key := keyword + " " + name
	t, seen := c.named[key]
	if !seen {
		t, _ = src.Named(keyword, name)
		c.named[key] = t
	}
	return t
}

// builtinType resolves the types of the language itself.
func builtinType(name string) *types.Type {
	switch name {
	case "bool":
		return types.Boolean
	case "string":
		return &types.Type{Kind: types.String}
	case "buffer":
		return &types.Type{Kind: types.Buffer}
	case "void":
		return types.None
	}
	if t := types.LateNamed(name); t != nil {
		return t
	}
	stem := strings.TrimSuffix(name, "_t")
	signed := !strings.HasPrefix(stem, "u")
	switch strings.TrimPrefix(stem, "u") {
	case "int8":
		return types.IntOf(1, signed)
	case "int16":
		return types.IntOf(2, signed)
	case "int32":
		return types.IntOf(4, signed)
	case "int64":
		return types.IntOf(8, signed)
	}
	switch name {
	case "char":
		return types.Int8
	case "short":
		return types.Int16
	case "int":
		return types.Int32
	case "long":
		return types.Int64
	case "unsigned":
		return types.Uint32
	}
	return cdecl.Typedef(name)
}

func builtinTypes() []string {
	return []string{"bool", "string", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "buffer", "inet"}
}

// typeExpr is sizeof or offsetof: a number known now.
func (c *checker) typeExpr(e *syntax.TypeExpr) *types.Type {
	if e.Keyword == "" {
		c.errorf(e, "got the type '%s', want a value", c.typeOf(e.Type))
		return types.Bad
	}
	switch e.Keyword {
	case "typeinfo":
		return c.typeinfo(e)
	case "typeof":
		c.notYet(e, e.Keyword+" is")
		return types.Bad
	}
	t := c.described(e)
	if t.Kind == types.Invalid {
		return t
	}
	if t.Kind == types.Struct && t.Size == 0 && t.Layout == nil {
		c.errorf(e, "'%s' is never defined", t)
		return types.Bad
	}
	size := int64(t.Size)
	if t.Kind == types.Tuple {
		size = int64(t.Memory())
	}
	if e.Keyword == "offsetof" {
		if t.Kind == types.Pointer {
			t = t.Elem
		}
		var ok bool
		if size, ok = c.offset(t, e.Fields); !ok {
			return types.Bad
		}
	}
	c.info.Consts[e] = size
	return types.Uint64
}

// described is the type that a sizeof or its like is about.
func (c *checker) described(e *syntax.TypeExpr) *types.Type {
	if e.X != nil {
		return c.pointer(e.X)
	}
	if row, _ := c.builtinOf(e.Type); row != nil { // sizeof(comm): it was read as the name of a type
		return c.pointer(&syntax.Name{Range: e.Type.Range, Text: e.Type.Name})
	}
	if e.Type.Bare() && builtinType(e.Type.Name) == nil {
		if _, ok := c.namedType(e.Type, "", e.Type.Name); !ok {
			if t := c.constant(&syntax.Name{Range: e.Type.Range, Text: e.Type.Name}); t != nil {
				return t
			}
		}
	}
	return c.typeOf(e.Type)
}

// builtinOf finds the builtin variable that a bare name stands for which no type has.
func (c *checker) builtinOf(ref *syntax.TypeRef) (*types.Var, int) {
	if ref == nil || !ref.Bare() || builtinType(ref.Name) != nil {
		return nil, 0
	}
	return c.builtin(ref.Name)
}
