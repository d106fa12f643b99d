package check

import (
	"errors"
	"regexp"
	"strconv"
	"strings"

	"github.com/slopebpf/slope/lang/cdecl"
	"github.com/slopebpf/slope/lang/source"
	"github.com/slopebpf/slope/lang/syntax"
	"github.com/slopebpf/slope/lang/types"
)

// preamble reads the C definitions of a script and the lines of the preprocessor between them.
type preamble struct {
	c     *checker
	conds []condition // around; what is below one that does not hold is skipped
}

// condition is an #if with what follows it so far.
type condition struct {
	at    *syntax.Directive
	holds bool // what stands here is read
	done  bool // something before was
	last  bool // it is behind #else
}

// cOrigin is where a definition of an imported file stands there.
type cOrigin struct {
	file *source.File
	at   source.Span
}

// cDefinitions defines the script's own types, constants and macros.
func (c *checker) cDefinitions() {
	c.ctypes, c.cmacros = cdecl.New(), map[string]*syntax.Macro{}
	c.ctypes.Predefine("BPFTRACE_HAVE_BTF", "1")
	if kernel, ok := c.opt.Resolver.(interface {
		KernelVersion() (major, minor, patch int64)
	}); ok {
		c.ctypes.Predefine("LINUX_VERSION_CODE", strconv.FormatInt(cdecl.Version(kernel.KernelVersion()), 10))
	}
	if src, ok := c.opt.Resolver.(types.Source); ok {
		c.ctypes.Outside = src.Named
		c.ctypes.OutsideConstant = func(name string) (int64, bool) {
			v, _, ok := src.Constant(name)
			return v, ok
		}
	}
	p := preamble{c: c}
	for _, it := range c.file.Items {
		switch it := it.(type) {
		case *syntax.CDef:
			if p.on() {
				p.define(it)
			}
		case *syntax.Directive:
			p.directive(it)
		}
	}
	for _, open := range p.conds {
		p.errorf(open.at, "this condition has no '#endif'")
	}
}

// errorf reports at a definition or a line, in the file that has it.
func (p *preamble) errorf(n syntax.Node, format string, args ...any) *source.Diagnostic {
	from, ok := p.c.cOrigins[n]
	if !ok {
		return p.c.errorf(n, format, args...)
	}
	return p.c.diags.Errorf(from.file, from.at, format, args...)
}

func (p *preamble) on() bool {
	for _, c := range p.conds {
		if !c.holds {
			return false
		}
	}
	return true
}

func (p *preamble) define(d *syntax.CDef) {
	err := p.c.ctypes.Define(d.Text)
	var e *cdecl.Error
	if errors.As(err, &e) {
		diag := p.errorf(d, "%s", e.Message)
		diag.Span.End = diag.Span.Start + int32(e.End)
		diag.Span.Start += int32(e.Start)
		if strings.HasPrefix(e.Message, "unknown type") || strings.Contains(e.Message, "incomplete type") {
			diag.WithHint("neither the script nor the kernel's BTF defines it; an #include opens no file")
		}
	}
}

// cutWord parts a text after its first word.
func cutWord(text string) (word, rest string) {
	if i := strings.IndexAny(text, " \t"); i >= 0 {
		return text[:i], strings.TrimSpace(text[i:])
	}
	return text, ""
}

func (p *preamble) directive(d *syntax.Directive) {
	text := strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(d.Text), "#"))
	if strings.HasPrefix(text, "!") {
		return
	}
	word, rest := cutWord(strings.ReplaceAll(text, "\\\n", " "))
	rest = strings.TrimSpace(cutComment(rest))
	name, value := cutWord(rest)
	_, known := p.c.ctypes.Macro(name)
	switch word {
	case "ifdef":
		p.conds = append(p.conds, condition{at: d, holds: known, done: known})
	case "ifndef":
		p.conds = append(p.conds, condition{at: d, holds: !known, done: !known})
	case "if":
		holds := p.on() && p.holds(d, rest)
		p.conds = append(p.conds, condition{at: d, holds: holds, done: holds})
	case "elif", "else":
		n := len(p.conds)
		if n == 0 {
			p.errorf(d, "#%s without #if", word)
			return
		}
		c := &p.conds[n-1]
		if c.last {
			p.errorf(d, "#%s behind #else", word)
		}
		c.last = word == "else"
		around := preamble{c: p.c, conds: p.conds[:n-1]}
		c.holds = !c.done && (word == "else" || around.on() && p.holds(d, rest))
		c.done = c.done || c.holds
	case "endif":
		if n := len(p.conds); n > 0 {
			p.conds = p.conds[:n-1]
		} else {
			p.errorf(d, "#endif without #if")
		}
	case "pragma": // types come from BTF; one that is missing is reported where it is used
	case "include", "define", "undef":
		if p.on() {
			p.macro(d, word, name, value, rest)
		}
	default:
		p.errorf(d, "preprocessor line '#%s' is not supported", word)
	}
}

// macro reads what defines macros, or forgets them.
func (p *preamble) macro(d *syntax.Directive, word, name, value, rest string) {
	stem, _, withParams := strings.Cut(name, "(")
	switch {
	case word == "include":
		p.c.ctypes.Include(rest)
		return
	case stem == "":
		p.errorf(d, "#%s without a name", word)
		return
	}
	delete(p.c.cmacros, stem)
	switch {
	case word == "undef":
		p.c.ctypes.Undefine(stem)
	case withParams:
		p.c.cmacros[stem] = parseMacro(rest)
		p.c.ctypes.SetMacroWithArguments(stem)
	default:
		p.c.ctypes.SetMacro(name, value)
	}
}

// holds evaluates "#if".
func (p *preamble) holds(d *syntax.Directive, text string) bool {
	is, err := p.c.ctypes.Condition(text)
	if err != nil {
		p.errorf(d, "#if: %s", err)
	}
	return is
}

// parseMacro reads "NAME(a, b) expression" as a macro of the language, nil when it is none. Its arguments are expressions,
// not text, so that none falls apart for want of parentheses.
func parseMacro(text string) *syntax.Macro {
	head, body, ok := strings.Cut(text, ")")
	file, diags := syntax.Parse(source.NewFile("define", "macro "+head+") { }"))
	if !ok || diags.HasErrors() || len(file.Items) != 1 {
		return nil
	}
	m, ok := file.Items[0].(*syntax.Macro)
	if !ok {
		return nil
	}
	params := map[string]*syntax.Name{}
	for _, p := range m.Params {
		if name, ok := p.(*syntax.Name); ok {
			params[name.Text] = name
		}
	}
	words := regexp.MustCompile(`"(?:\\.|[^"\\])*"|\w+`) // and texts and numbers, which have no names in them
	// As variables the parameters are read as values: (x)*(x) is no cast of a pointer.
	value := parseExpr(words.ReplaceAllStringFunc(body, func(word string) string {
		if params[word] != nil {
			return "$" + word
		}
		return word
	}))
	if value == nil {
		return nil
	}
	value = syntax.Copy(value, nil, func(e syntax.Expr) syntax.Expr {
		if v, ok := e.(*syntax.Var); ok && params[v.Text] != nil {
			return params[v.Text]
		}
		return nil
	})
	m.Body.Result = value
	return m
}

func cutComment(s string) string {
	if i := strings.Index(s, "//"); i >= 0 && !strings.Contains(s[:i], `"`) {
		s = s[:i]
	}
	for {
		i := strings.Index(s, "/*")
		j := strings.Index(s, "*/")
		if i < 0 || j < i {
			return s
		}
		s = s[:i] + " " + s[j+2:]
	}
}

// constant finds an enumerator of the script, of the program that the clause probes, or of the kernel.
func (c *checker) constant(e *syntax.Name) *types.Type {
	if k, ok := c.ctypes.Constant(e.Text); ok {
		c.info.Consts[e] = k.Value
		return k.Type
	}
	if c.target != nil && c.target.Debug != nil && c.opt.Universe.Func(e.Text) == nil {
		if v, t, ok := c.target.Debug.Constant(e.Text); ok {
			c.info.Consts[e] = v
			return t
		}
	}
	src, ok := c.opt.Resolver.(types.Source)
	if !ok || strings.ToUpper(e.Text) == strings.ToLower(e.Text) {
		return nil
	}
	k, seen := c.kernel[e.Text]
	if !seen {
		v, t, ok := src.Constant(e.Text)
		if !ok {
			t = nil
		}
		k = cdecl.Constant{Value: v, Type: t}
		c.kernel[e.Text] = k
	}
	if k.Type != nil {
		c.info.Consts[e] = k.Value
	}
	return k.Type
}
