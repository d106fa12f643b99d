package stdlib

import (
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/slopebpf/slope/lang/syntax"
	"github.com/slopebpf/slope/lang/types"
)

// shape is what a script reads of an argument of a program's function, and so what the argument is in a test: a number, a text
// where a test gives one, and where fields of it are read the address of a struct with these fields.
type shape struct {
	text   bool
	fields map[string]*shape
}

func (s *shape) field(name string) *shape {
	if s.fields == nil {
		s.fields = map[string]*shape{}
	}
	if s.fields[name] == nil {
		s.fields[name] = &shape{}
	}
	return s.fields[name]
}

// all are the fields of args.
func (s *shape) all() map[string]*shape {
	if s == nil {
		return nil
	}
	return s.fields
}

// reading is an expression of the script, in a probe or not, as in a function.
type reading struct {
	expr syntax.Expr
	in   *syntax.Probe
}

// event is what the script reads of the events of one probe.
type event struct {
	args *shape // all that it reads through args, nil when it does not
	ret  *shape // the same of retval, and of args.retval
}

// event is what the script reads of a probe of a full name.
func (s *Stand) event(name string) *event {
	if e := s.events[name]; e != nil {
		return e
	}
	e := &event{ret: &shape{}}
	s.events[name] = e
	for _, r := range s.reads {
		if r.in == nil || s.attaches(r.in, name) {
			e.reads(r.expr)
		}
	}
	for _, r := range s.given[name] {
		e.args.given(r)
		(&shape{fields: map[string]*shape{givenResult: e.ret}}).given(r)
	}
	return e
}

// attaches tells whether a probe of the script is, or its pattern matches, that of a full name.
func (s *Stand) attaches(p *syntax.Probe, name string) bool {
	for _, a := range p.Attach {
		for _, parts := range alternatives(a.Parts) {
			if full := s.Canonical(strings.Join(parts, ":")); full == name || match(full, name) {
				return true
			}
		}
	}
	return false
}

// reads notes args.a.b and retval.a; the result is the shape of b, nil for other expressions.
func (e *event) reads(x syntax.Expr) *shape {
	switch x := x.(type) {
	case *syntax.Name:
		switch x.Text {
		case givenArgs:
			if e.args == nil {
				e.args = &shape{}
			}
			return e.args
		case givenResult:
			return e.ret
		}
	case *syntax.Field:
		of := e.reads(x.X)
		switch {
		case of == nil:
			return nil
		case of == e.args && x.Name.Text == givenResult: // is retval
			of.field(givenResult)
			of.fields[givenResult] = e.ret
		}
		return of.field(x.Name.Text)
	}
	return nil
}

// given notes which of what the script reads are texts in a test.
func (s *shape) given(r *syntax.Record) {
	for i, n := range r.Names {
		f := s.all()[n.Text]
		if f == nil {
			continue
		}
		switch x := r.Elems[i].(type) {
		case *syntax.String:
			f.text = true
		case *syntax.Record:
			f.given(x)
		}
	}
}

// textType is how Go keeps one; str() takes it as it takes a pointer to characters.
func textType() *types.Type {
	return &types.Type{Kind: types.Struct, Name: "string", Size: 16, Counted: true, Layout: types.Fields{
		{Name: "str", Type: types.PointerTo(types.Uint8, true)}, {Name: "len", Type: types.Int64, Offset: 8}}}
}

// layout are the fields of the struct, 16 bytes each.
func (s *shape) layout() (fields types.Fields) {
	for i, name := range slices.Sorted(maps.Keys(s.fields)) {
		fields = append(fields, types.Field{Name: name, Type: s.fields[name].typ(), Offset: 16 * i})
	}
	return fields
}

func (s *shape) typ() *types.Type {
	switch {
	case s.text:
		return textType()
	case s.fields != nil:
		fields := s.layout()
		return types.PointerTo(&types.Type{Kind: types.Struct, Name: "given", Size: 16 * len(fields), Layout: fields}, true)
	}
	return types.Int64
}

// bytes are those of a struct with the values that a test gives; what it does not give is 0.
func (s *shape) bytes(values map[string]types.Given, memory func([]byte) uint64) ([]byte, error) {
	raw := make([]byte, max(16*len(s.fields), 16))
	names := slices.Sorted(maps.Keys(s.fields))
	for _, name := range slices.Sorted(maps.Keys(values)) {
		i, known := slices.BinarySearch(names, name)
		if !known {
			return nil, fmt.Errorf("nothing reads a field '%s'", name)
		}
		f, at, v := s.fields[name], raw[16*i:], values[name]
		switch {
		case v.Text != nil:
			binary.LittleEndian.PutUint64(at, memory(append([]byte(*v.Text), 0)))
			binary.LittleEndian.PutUint64(at[8:], uint64(len(*v.Text)))
		case f.text:
			return nil, fmt.Errorf("'%s' got no text, and one elsewhere", name)
		case v.Fields != nil:
			inner, err := f.bytes(v.Fields, memory)
			if err != nil {
				return nil, fmt.Errorf("'%s': %w", name, err)
			}
			binary.LittleEndian.PutUint64(at, memory(inner))
		default:
			binary.LittleEndian.PutUint64(at, v.Number)
		}
	}
	return raw, nil
}

// programArgs gives a target the arguments that the script reads by name. They lie on the stack, beside those in registers.
func (s *Stand) programArgs(t *types.Target) {
	e := s.event(t.Name)
	if e.ret.fields != nil && t.Return {
		t.Debug = shownResult{e.ret.typ()}
	}
	if e.args == nil {
		return
	}
	fields := e.args.layout()
	for i := range fields {
		fields[i].Offset = 8 * i
		t.Places = append(t.Places, []types.Piece{{Operand: types.Operand{Kind: types.MemoryOperand, Base: wordSP, Index: -1, Value: int64(16 * i)}}})
	}
	t.Args = &types.Type{Kind: types.Struct, Name: t.Name, Layout: fields, Args: true}
}

// shownResult is the debug information of a program that is not there: what a function returns is what the script reads of it.
type shownResult struct{ result *types.Type }

// Args implements types.Debug.
func (shownResult) Args() (*types.Type, [][]types.Piece, error) { return nil, nil, nil }

// Result implements types.Debug.
func (r shownResult) Result() *types.Type { return r.result }

// Named implements types.Debug.
func (shownResult) Named(string, string) (*types.Type, error) { return nil, nil }

// Shortened implements types.Debug.
func (shownResult) Shortened(string, string) (*types.Type, error) { return nil, nil }

// Constant implements types.Debug.
func (shownResult) Constant(string) (int64, *types.Type, bool) { return 0, nil, false }
