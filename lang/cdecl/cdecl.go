// Package cdecl reads the C definitions of a script: structs, unions, enums and typedefs with their layouts, and the lines of
// the preprocessor as far as they define constants and choose between parts.
//
// Algorithm. A definition is cut into tokens and read by recursive descent; layouts follow the System V ABI of x86-64:
// natural alignment, bit fields in units of their type, packed and aligned as GCC has them. Types that the script does
// not define come from outside. A name is known to what follows its definition, a pointer may be to anything.
//
// Invariants: any text gives types or an Error that points into it, never a panic; nesting has a limit. The package
// opens no files and expands no macros but constants. Start at Scope.Define.
package cdecl

import (
	"fmt"
	"strings"

	"github.com/slopebpf/slope/lang/types"
)

const (
	maxNested = 32
	maxSize   = 1 << 20 // bytes of a struct
)

// Error is what is wrong with a definition; Start and End are bytes of its text.
type Error struct {
	Start, End int
	Message    string
}

func (e *Error) Error() string { return e.Message }

// Constant is an enumerator.
type Constant struct {
	Value int64
	Type  *types.Type
}

// Scope is what a script has defined so far.
type Scope struct {
	// Outside finds types that the script does not define; it may be nil.
	Outside func(keyword, name string) (*types.Type, bool)
	// OutsideConstant finds constants that the script does not define; it may be nil.
	OutsideConstant func(name string) (int64, bool)

	named     map[string]*types.Type // by keyword and name
	constants map[string]Constant
	defines   map[string]string
	ahead     map[string]*types.Type // structs that were named and are not defined so far, by keyword and name
	align     map[*types.Type]int    // of the script's own structs, and of typedefs that ask for more than their types have
	withArgs  map[string]bool        // macros that take arguments

	predefined int
}

// New makes an empty scope.
func New() *Scope {
	return &Scope{named: map[string]*types.Type{}, constants: map[string]Constant{}, defines: map[string]string{},
		ahead: map[string]*types.Type{}, align: map[*types.Type]int{}, withArgs: map[string]bool{}}
}

// Named returns a type that the script defines.
func (s *Scope) Named(keyword, name string) (*types.Type, bool) {
	t, ok := s.named[keyword+" "+name]
	return t, ok
}

// Constant returns an enumerator that the script defines.
func (s *Scope) Constant(name string) (Constant, bool) {
	c, ok := s.constants[name]
	return c, ok
}

// Macro returns the text of an object-like macro.
func (s *Scope) Macro(name string) (string, bool) {
	t, ok := s.defines[name]
	return t, ok
}

// Names lists the constants and macros of the scope.
func (s *Scope) Names() []string {
	var out []string
	for n := range s.constants {
		out = append(out, n)
	}
	for n := range s.defines {
		out = append(out, n)
	}
	return out
}

// Predefined is how many names a scope has before any definition.
func (s *Scope) Predefined() int { return s.predefined }

// Predefine defines a macro that is no definition of the script's.
func (s *Scope) Predefine(name, text string) {
	s.SetMacro(name, text)
	s.predefined++
}

// SetMacro defines an object-like macro.
func (s *Scope) SetMacro(name, text string) {
	s.defines[name] = text
	delete(s.withArgs, name)
}

// SetMacroWithArguments says that there is a macro with arguments, which has no value here.
func (s *Scope) SetMacroWithArguments(name string) {
	s.defines[name] = ""
	s.withArgs[name] = true
}

// Undefine forgets a macro.
func (s *Scope) Undefine(name string) {
	delete(s.defines, name)
	delete(s.withArgs, name)
}

// Define reads one definition.
func (s *Scope) Define(text string) (err error) {
	p := &parser{scope: s, text: text}
	defer failed(&err)
	p.next()
	switch p.tok {
	case "struct", "union":
		p.structure()
	case "enum":
		p.enum()
	case "typedef":
		p.typedef()
	default:
		p.fail("got '%s', want struct, union, enum or typedef", p.tok)
	}
	p.attributes(nil)
	p.accept(";")
	if p.tok != "" {
		p.fail("got '%s' after the definition", p.tok)
	}
	return nil
}

// Value evaluates a constant expression of C.
func (s *Scope) Value(text string) (int64, error) {
	return (&parser{scope: s, text: text}).whole()
}

// Condition evaluates what stands after #if: there, names that nobody defines are 0, and "defined" asks for a macro.
func (s *Scope) Condition(text string) (bool, error) {
	v, err := (&parser{scope: s, text: text, condition: true}).whole()
	return v != 0, err
}

// whole is the value of the whole text.
func (p *parser) whole() (v int64, err error) {
	defer failed(&err)
	p.next()
	v = p.value(0)
	if p.tok != "" {
		p.fail("got '%s' after the value", p.tok)
	}
	return v, nil
}

// failed makes an error of what parser.fail threw.
func failed(err *error) {
	switch r := recover().(type) {
	case nil:
	case *Error:
		*err = r
	default:
		panic(r)
	}
}

// parser reads one text.
type parser struct {
	scope      *Scope
	text       string
	tok        string // the next token, "" at the end
	start, pos int    // of tok, and after it
	depth      int
	condition  bool // of #if

	nameStart, nameEnd int // of the name that was read last
}

func (p *parser) fail(format string, args ...any) {
	end := max(p.pos, p.start+1)
	if end > len(p.text) {
		end = len(p.text)
	}
	panic(&Error{Start: min(p.start, end), End: end, Message: fmt.Sprintf(format, args...)})
}

// next reads a token: a name, a number, or a piece of punctuation.
func (p *parser) next() {
	for {
		for p.pos < len(p.text) && strings.IndexByte(" \t\r\n", p.text[p.pos]) >= 0 {
			p.pos++
		}
		rest := p.text[p.pos:]
		switch {
		case strings.HasPrefix(rest, "//"):
			if i := strings.IndexByte(rest, '\n'); i >= 0 {
				p.pos += i
			} else {
				p.pos = len(p.text)
			}
			continue
		case strings.HasPrefix(rest, "/*"):
			if i := strings.Index(rest[2:], "*/"); i >= 0 {
				p.pos += i + 4
			} else {
				p.pos = len(p.text)
			}
			continue
		}
		break
	}
	p.start = p.pos
	for p.pos < len(p.text) && word(p.text[p.pos]) {
		p.pos++
	}
	if p.pos == p.start && p.pos < len(p.text) {
		p.pos++
		switch p.text[p.start:min(p.start+2, len(p.text))] {
		case "<<", ">>", "<=", ">=", "==", "!=", "&&", "||":
			p.pos++
		}
	}
	p.tok = p.text[p.start:p.pos]
}

func word(c byte) bool {
	return c == '_' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

func (p *parser) isName() bool {
	return p.tok != "" && word(p.tok[0]) && (p.tok[0] < '0' || p.tok[0] > '9')
}

func (p *parser) accept(tok string) bool {
	if p.tok != tok {
		return false
	}
	p.next()
	return true
}

func (p *parser) want(tok string) {
	if !p.accept(tok) {
		if p.tok == "" {
			p.fail("the definition ends, want '%s'", tok)
		}
		p.fail("got '%s', want '%s'", p.tok, tok)
	}
}

func (p *parser) name(what string) string {
	if !p.isName() {
		p.fail("got '%s', want %s", p.tok, what)
	}
	n := p.tok
	p.nameStart, p.nameEnd = p.start, p.pos
	p.next()
	return n
}

// enter counts the nesting.
func (p *parser) enter() {
	if p.depth++; p.depth > maxNested {
		p.fail("nested too deeply, the limit is %d", maxNested)
	}
}

// packing is what attributes say of a layout.
type packing struct {
	packed bool
	align  int
}

// attributes reads "__attribute__((packed, aligned(8)))", any number of times. What it does not know changes no layout.
func (p *parser) attributes(to *packing) {
	for p.tok == "__attribute__" || p.tok == "__packed" {
		if p.accept("__packed") {
			if to != nil {
				to.packed = true
			}
			continue
		}
		p.next()
		p.want("(")
		p.want("(")
		for p.tok != ")" {
			name := strings.Trim(p.name("an attribute"), "_")
			n := int64(16) // what aligned says without a number
			if p.accept("(") {
				if name == "aligned" {
					n = p.value(0)
				} else {
					for p.tok != ")" && p.tok != "" {
						p.next()
					}
				}
				p.want(")")
			}
			switch {
			case to == nil:
			case name == "packed":
				to.packed = true
			case name == "aligned":
				if n <= 0 || n > 4096 || n&(n-1) != 0 {
					p.fail("got an alignment of %d, want a power of two up to 4096", n)
				}
				to.align = max(to.align, int(n))
			}
			if !p.accept(",") {
				break
			}
		}
		p.want(")")
		p.want(")")
	}
}

// value reads a constant expression; level is the least precedence of its operators.
func (p *parser) value(level int) int64 {
	p.enter()
	defer func() { p.depth-- }()
	x := p.operand()
	for {
		op := p.tok
		l := map[string]int{"||": 1, "&&": 2, "|": 3, "^": 4, "&": 5, "==": 6, "!=": 6, "<": 7, ">": 7, "<=": 7, ">=": 7, "<<": 8, ">>": 8,
			"+": 9, "-": 9, "*": 10, "/": 10, "%": 10}[op]
		if l == 0 || l <= level {
			return x
		}
		p.next()
		y := p.value(l)
		truth := func(b bool) int64 {
			if b {
				return 1
			}
			return 0
		}
		switch op {
		case "||":
			x = truth(x != 0 || y != 0)
		case "&&":
			x = truth(x != 0 && y != 0)
		case "==":
			x = truth(x == y)
		case "!=":
			x = truth(x != y)
		case "<":
			x = truth(x < y)
		case ">":
			x = truth(x > y)
		case "<=":
			x = truth(x <= y)
		case ">=":
			x = truth(x >= y)
		case "|":
			x |= y
		case "^":
			x ^= y
		case "&":
			x &= y
		case "<<":
			x <<= uint64(y) & 63
		case ">>":
			x >>= uint64(y) & 63
		case "+":
			x += y
		case "-":
			x -= y
		case "*":
			x *= y
		default:
			if y == 0 {
				p.fail("division by zero")
			}
			if op == "/" {
				x /= y
			} else {
				x %= y
			}
		}
	}
}

func (p *parser) operand() int64 {
	p.enter()
	defer func() { p.depth-- }()
	switch {
	case p.accept("-"):
		return -p.operand()
	case p.accept("~"):
		return ^p.operand()
	case p.accept("+"):
		return p.operand()
	case p.accept("!"):
		if p.operand() == 0 {
			return 1
		}
		return 0
	case p.accept("("):
		x := p.value(0)
		p.want(")")
		return x
	}
	if p.isName() {
		return p.constant()
	}
	if p.tok == "" || p.tok[0] < '0' || p.tok[0] > '9' {
		p.fail("got '%s', want a number", p.tok)
	}
	n, ok := number(p.tok)
	if !ok {
		p.fail("invalid number '%s'", p.tok)
	}
	p.next()
	return n
}

// constant is the value of an enumerator or of a macro.
func (p *parser) constant() int64 {
	name := p.tok
	if p.condition && name == "defined" {
		return p.defined()
	}
	if p.condition && name == "KERNEL_VERSION" {
		return p.version()
	}
	if c, ok := p.scope.constants[name]; ok {
		p.next()
		return c.Value
	}
	if p.scope.withArgs[name] {
		p.fail("'%s' takes arguments: such a macro has no value here", name)
	}
	if text, ok := p.scope.defines[name]; ok {
		p.enter()
		q := &parser{scope: p.scope, text: text, depth: p.depth, condition: p.condition}
		n, err := q.whole()
		if err != nil {
			p.fail("'%s' has no constant value", name)
		}
		p.depth--
		p.next()
		return n
	}
	if p.scope.OutsideConstant != nil {
		if v, ok := p.scope.OutsideConstant(name); ok {
			p.next()
			return v
		}
	}
	if p.condition {
		p.next()
		return 0
	}
	p.fail("unknown constant '%s'", name)
	return 0
}

// version reads KERNEL_VERSION(6, 1, 0), as linux/version.h has it.
func (p *parser) version() int64 {
	p.next()
	p.want("(")
	major := p.value(0)
	p.want(",")
	minor := p.value(0)
	p.want(",")
	patch := p.value(0)
	p.want(")")
	return Version(major, minor, patch)
}

// Version is the number of a release of Linux in LINUX_VERSION_CODE.
func Version(major, minor, patch int64) int64 { return major<<16 + minor<<8 + min(patch, 255) }

// defined reads "defined NAME" and "defined(NAME)".
func (p *parser) defined() int64 {
	p.next()
	open := p.accept("(")
	_, known := p.scope.defines[p.name("the name of a macro")]
	if open {
		p.want(")")
	}
	if known {
		return 1
	}
	return 0
}

// number reads an integer of C.
func number(s string) (int64, bool) {
	digits := strings.TrimRight(s, "uUlL")
	base := uint64(10)
	switch {
	case strings.HasPrefix(digits, "0x") || strings.HasPrefix(digits, "0X"):
		base, digits = 16, digits[2:]
	case len(digits) > 1 && digits[0] == '0':
		base, digits = 8, digits[1:]
	}
	if digits == "" {
		return 0, false
	}
	n := uint64(0)
	for _, c := range []byte(strings.ToLower(digits)) {
		d := uint64(99)
		switch {
		case c >= '0' && c <= '9':
			d = uint64(c - '0')
		case c >= 'a' && c <= 'f':
			d = uint64(c-'a') + 10
		}
		if d >= base || n > (1<<64-1-d)/base {
			return 0, false
		}
		n = n*base + d
	}
	return int64(n), true
}
