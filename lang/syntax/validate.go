package syntax

import (
	"github.com/slopebpf/slope/lang/source"
)

// validate checks what is read more freely than it is allowed: the message can then name the rule, and the
// formatter and the editor still get a whole tree.
func validate(f *File, ds *source.Diagnostics) {
	v := validator{file: f.Source, ds: ds}
	v.order(f)
	WalkFile(f, v.node)
}

type validator struct {
	file *source.File
	ds   *source.Diagnostics
}

func (v *validator) errorf(n Node, format string, args ...any) *source.Diagnostic {
	return v.ds.Errorf(v.file, n.Span(), format, args...)
}

// The parts of a file must stand in this order.
const (
	cPart = iota
	configPart
	bodyPart
)

func (v *validator) order(f *File) {
	part := cPart
	var config *Config
	for _, item := range f.Items {
		switch n := item.(type) {
		case *CDef:
			v.before(n, part, cPart, "C definitions", "config, imports and probes")
		case *Directive:
			if n.Start == 0 && len(n.Text) > 1 && n.Text[1] == '!' {
				continue // "#!" of an executable script
			}
			v.before(n, part, cPart, "C definitions", "config, imports and probes")
		case *Config:
			if config != nil {
				line, _ := v.file.Position(config.Start)
				v.errorf(n, "a file has one config, got a second").WithHint("the first is in line %d", line)
			}
			config = n
			v.before(n, part, configPart, "config", "probes and declarations")
			part = max(part, configPart)
		case *Import:
			v.before(n, part, configPart, "imports", "probes and declarations")
			part = max(part, configPart)
		case *BadItem:
		default:
			part = bodyPart
		}
	}
}

func (v *validator) before(n Item, part, want int, what, later string) {
	if part > want {
		v.errorf(n, "%s must stand before %s", what, later)
	}
}

func (v *validator) node(n Node) bool {
	switch n := n.(type) {
	case *Assign:
		v.target(n)
	case *Unary:
		if n.Op == "++" || n.Op == "--" {
			switch n.X.(type) {
			case *Var, *Map, *BadExpr:
			default:
				v.errorf(n.X, "'%s' wants a variable or a map, got %s", n.Op, describe(n.X))
			}
		}
	case *Record:
		names := map[string]bool{}
		for _, name := range n.Names {
			if names[name.Text] {
				v.errorf(name, "duplicate field '%s' in the record", name.Text)
			}
			names[name.Text] = true
		}
	case *For:
		if n.To != nil {
			v.rangeEnd(n.From)
			v.rangeEnd(n.To)
		}
	case *SLI:
		v.unique(n.Labels, "label")
	}
	return true
}

func (v *validator) unique(names []*Name, what string) {
	seen := map[string]bool{}
	for _, name := range names {
		if seen[name.Text] {
			v.errorf(name, "duplicate %s '%s'", what, name.Text)
		}
		seen[name.Text] = true
	}
}

func (v *validator) target(n *Assign) {
	switch t := n.Target.(type) {
	case *Var, *Map, *BadExpr:
		return
	case *Name:
		if t.Text == "_" && n.Op == "=" {
			return // discards the value
		}
	}
	v.errorf(n.Target, "cannot assign to %s, want a variable or a map", describe(n.Target))
}

// rangeEnd allows what needs no parentheses to be read.
func (v *validator) rangeEnd(x Expr) {
	switch x.(type) {
	case *Binary, *Ternary, *Cast, *Comptime, IfExpr, BlockExpr:
		if !v.inParens(x) {
			v.errorf(x, "a range ends in a simple expression, got %s", describe(x)).WithHint("put it in parentheses")
		}
	}
}

// inParens tells whether a group stands around x. The tree does not keep groups.
func (v *validator) inParens(x Expr) bool {
	text := v.file.Text
	i := int(x.Span().Start) - 1
	for i >= 0 && isBlank(text[i]) {
		i--
	}
	j := skipBlank(text, int(x.Span().End))
	return i >= 0 && text[i] == '(' && j < len(text) && text[j] == ')'
}

// describe names a kind of expression in messages.
func describe(x Expr) string {
	switch x := x.(type) {
	case *Name:
		return "'" + x.Text + "'"
	case *Int, *Bool, *Percent, *Positional:
		return "a constant"
	case *String:
		return "a string"
	case *Tuple:
		return "a tuple"
	case *Record:
		return "a record"
	case *Call:
		return "a call of '" + x.Name.Text + "'"
	case *Field, *Index:
		return "a part of a value"
	case *Cast:
		return "a cast"
	}
	return "an expression"
}
