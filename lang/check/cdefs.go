package check

import (
	"errors"
	"regexp"
	"strings"

	"github.com/slopebpf/slope/lang/cdecl"
	"github.com/slopebpf/slope/lang/source"
	"github.com/slopebpf/slope/lang/syntax"
	"github.com/slopebpf/slope/lang/types"
)

// preamble reads the C definitions of a script and the lines of the preprocessor between them.
type preamble struct {
	c     *checker
	taken []bool // of the conditions around; what is below one that is false is skipped
}

// cDefinitions defines the script's own types, constants and macros.
func (c *checker) cDefinitions() {
	c.ctypes, c.cmacros = cdecl.New(), map[string]*syntax.Macro{}
	c.ctypes.Predefine("BPFTRACE_HAVE_BTF", "1")
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
	if len(p.taken) > 0 {
		end := int32(len(c.file.Source.Text))
		c.diags.Errorf(c.file.Source, source.Span{Start: max(end-1, 0), End: end}, "a '#if' has no '#endif'")
	}
}

func (p *preamble) on() bool {
	for _, t := range p.taken {
		if !t {
			return false
		}
	}
	return true
}

func (p *preamble) define(d *syntax.CDef) {
	err := p.c.ctypes.Define(d.Text)
	var e *cdecl.Error
	if errors.As(err, &e) {
		at := syntax.Range{Start: d.Start + int32(e.Start), End: d.Start + int32(e.End)}
		diag := p.c.errorf(at, "%s", e.Message)
		if strings.HasPrefix(e.Message, "unknown type") || strings.Contains(e.Message, "incomplete type") {
			diag.WithHint("neither the script nor the kernel's BTF defines it; header files are not read")
		}
	}
}

func (p *preamble) directive(d *syntax.Directive) {
	text := strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(d.Text), "#"))
	if strings.HasPrefix(text, "!") {
		return
	}
	word, rest, _ := strings.Cut(strings.ReplaceAll(text, "\\\n", " "), " ")
	rest = strings.TrimSpace(cutComment(rest))
	name, value, _ := strings.Cut(rest, " ")
	_, known := p.c.ctypes.Macro(name)
	switch word {
	case "ifdef":
		p.taken = append(p.taken, known)
	case "ifndef":
		p.taken = append(p.taken, !known)
	case "if":
		v := int64(0)
		if p.on() {
			v = p.condition(d, rest)
		}
		p.taken = append(p.taken, v != 0)
	case "else":
		if n := len(p.taken); n > 0 {
			p.taken[n-1] = !p.taken[n-1]
		} else {
			p.c.errorf(d, "#else without #if")
		}
	case "endif":
		if n := len(p.taken); n > 0 {
			p.taken = p.taken[:n-1]
		} else {
			p.c.errorf(d, "#endif without #if")
		}
	case "include":
		if p.on() {
			p.c.ctypes.Include(rest)
		}
	case "pragma": // types come from BTF; one that is missing is reported where it is used
	case "undef":
		if p.on() {
			p.c.ctypes.Undefine(name)
			delete(p.c.cmacros, name)
		}
	case "define":
		if !p.on() {
			return
		}
		if name == "" {
			p.c.errorf(d, "#define without a name")
			return
		}
		stem, _, withParams := strings.Cut(name, "(")
		if delete(p.c.cmacros, stem); withParams {
			p.c.cmacros[stem] = parseMacro(rest)
			value, name = "", stem // for #ifdef
		}
		p.c.ctypes.SetMacro(name, strings.TrimSpace(value))
	default:
		p.c.errorf(d, "preprocessor line '#%s' is not supported", word)
	}
}

// condition evaluates "#if": numbers, constants, and defined(NAME).
func (p *preamble) condition(d *syntax.Directive, text string) int64 {
	if name, ok := strings.CutPrefix(text, "defined"); ok {
		_, known := p.c.ctypes.Macro(strings.Trim(name, " ()"))
		return truth(known)
	}
	v, err := p.c.ctypes.Value(text)
	if err != nil {
		p.c.errorf(d, "#if: %s", err)
	}
	return v
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
	textOrName := regexp.MustCompile(`"(?:\\.|[^"\\])*"|[A-Za-z_]\w*`)
	// As variables the parameters are read as values: (x)*(x) is no cast of a pointer.
	value := parseExpr(textOrName.ReplaceAllStringFunc(body, func(word string) string {
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
