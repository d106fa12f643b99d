package ir

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/slopebpf/slope/lang/source"
)

// Parse reads the text form of a program (see print.go). Spans are the lines of the text.
func Parse(file *source.File) (*Program, error) {
	ps := &parser{prog: &Program{Source: file}, maps: map[string]*Map{}}
	pos := 0
	for _, line := range strings.SplitAfter(file.Text, "\n") {
		text := stripComment(line)
		start := pos + len(text) - len(strings.TrimLeft(text, " \t"))
		text = strings.TrimSpace(text)
		ps.span = source.Span{Start: int32(start), End: int32(start + len(text))}
		pos += len(line)
		if text == "" {
			continue
		}
		if err := ps.line(text); err != nil {
			return nil, &Error{File: file, Span: ps.span, Message: err.Error()}
		}
	}
	if err := ps.endFunc(); err != nil {
		return nil, &Error{File: file, Span: ps.span, Message: err.Error()}
	}
	return ps.prog, nil
}

func stripComment(line string) string {
	quoted := false
	for i := 0; i < len(line); i++ {
		switch {
		case line[i] == '\\' && quoted:
			i++
		case line[i] == '"':
			quoted = !quoted
		case line[i] == ';' && !quoted:
			return line[:i]
		}
	}
	return strings.TrimRight(line, "\r\n")
}

type parser struct {
	prog   *Program
	maps   map[string]*Map
	span   source.Span
	f      *Func
	blk    *Block
	blocks map[string]*Block
	values map[string]*Value
	void   []*Value // numbered at the end of the function, after the named ones
}

func (ps *parser) line(s string) error {
	word, rest, _ := strings.Cut(s, " ")
	switch word {
	case "map", "ring", "health":
		return ps.mapLine(word, strings.Fields(rest))
	case "counter":
		return ps.counter(strings.Fields(rest))
	case "event":
		return ps.event(rest)
	case "func":
		return ps.funcLine(rest)
	}
	if ps.f == nil {
		return fmt.Errorf("got %q, want a map, counter, event or func", word)
	}
	switch {
	case word == "slot":
		var id, size int
		var name string
		if n, _ := fmt.Sscanf(rest, "s%d %d %s", &id, &size, &name); n < 2 || id != len(ps.f.Slots) {
			return fmt.Errorf("bad slot %q", rest)
		}
		ps.f.Slots = append(ps.f.Slots, &Slot{ID: id, Name: name, Size: size})
		return nil
	case strings.HasSuffix(s, ":"):
		return ps.label(strings.TrimSuffix(s, ":"))
	case ps.blk == nil:
		return fmt.Errorf("got %q before the first block", s)
	case ps.blk.Term.Kind != TermNone:
		return fmt.Errorf("got %q after the end of b%d", s, ps.blk.ID)
	}
	return ps.inst(strings.ReplaceAll(s, "->", "→"))
}

func (ps *parser) mapLine(word string, w []string) error {
	if len(w) < 2 {
		return fmt.Errorf("%s needs a name and a kind", word)
	}
	m := &Map{Name: w[0]}
	kind, ok := find(w[1], int(RingBuf)+1, func(i int) string { return MapKind(i).String() })
	if !ok {
		return fmt.Errorf("unknown map kind %q", w[1])
	}
	m.Kind = MapKind(kind)
	for i := 2; i < len(w); i++ {
		switch w[i] {
		case "noprealloc":
			m.NoPrealloc = true
			continue
		case "mapped":
			m.Mapped = true
			continue
		}
		if i+1 == len(w) {
			return fmt.Errorf("%s needs a number", w[i])
		}
		n, err := strconv.Atoi(w[i+1])
		if err != nil {
			return err
		}
		switch w[i] {
		case "key":
			m.KeySize = n
		case "value":
			m.ValueSize = n
		case "entries":
			m.MaxEntries = n
		default:
			return fmt.Errorf("unknown word %q", w[i])
		}
		i++
	}
	switch word {
	case "ring":
		ps.prog.Ring = m
	case "health":
		ps.prog.Health = m
	}
	ps.maps[m.Name] = m
	ps.prog.Maps = append(ps.prog.Maps, m)
	return nil
}

func (ps *parser) counter(w []string) error {
	if len(w) < 2 {
		return fmt.Errorf("a counter needs a number and a loss")
	}
	c := &Counter{ID: len(ps.prog.Counters)}
	loss, ok := find(w[1], int(NumLosses), func(i int) string { return Loss(i).String() })
	if !ok {
		return fmt.Errorf("unknown loss %q", w[1])
	}
	c.Loss = Loss(loss)
	if len(w) > 2 {
		c.Map = ps.maps[w[2]]
	}
	ps.prog.Counters = append(ps.prog.Counters, c)
	return nil
}

func (ps *parser) event(rest string) error {
	e := &Event{}
	var kind, name string
	n, err := fmt.Sscanf(rest, "%d %s size %d %q %s", &e.ID, &kind, &e.Size, &e.Format, &name)
	if n < 4 {
		return fmt.Errorf("bad event: %w", err)
	}
	k, ok := find(kind, int(numEvents), func(i int) string { return EventKind(i).String() })
	if !ok {
		return fmt.Errorf("unknown event kind %q", kind)
	}
	e.Kind, e.Map = EventKind(k), ps.maps[name]
	ps.prog.Events = append(ps.prog.Events, e)
	return nil
}

func (ps *parser) funcLine(rest string) error {
	if err := ps.endFunc(); err != nil {
		return err
	}
	var typ, name, hook, word string
	if n, err := fmt.Sscanf(rest, "%s %s %q %s", &typ, &name, &hook, &word); n < 3 {
		return fmt.Errorf("bad func: %w", err)
	}
	t, ok := find(typ, int(PerfEvent)+1, func(i int) string { return ProgType(i).String() })
	if !ok {
		return fmt.Errorf("unknown program type %q", typ)
	}
	ps.f = &Func{Name: name, Type: ProgType(t), Hook: hook, Preemptible: word == "preemptible", Span: ps.span}
	ps.prog.Funcs = append(ps.prog.Funcs, ps.f)
	ps.blk, ps.blocks, ps.values, ps.void = nil, map[string]*Block{}, map[string]*Value{}, nil
	return nil
}

// endFunc checks that everything mentioned was also defined.
func (ps *parser) endFunc() error {
	if ps.f == nil {
		return nil
	}
	for _, v := range ps.void {
		v.ID = ps.f.nextValue
		ps.f.nextValue++
	}
	for name, v := range ps.values {
		if v.Op == OpInvalid {
			return fmt.Errorf("%s is not defined in %s", name, ps.f.Name)
		}
	}
	if len(ps.blocks) != len(ps.f.Blocks) {
		return fmt.Errorf("%s has a jump to a block that does not exist", ps.f.Name)
	}
	return nil
}

func (ps *parser) block(name string) (*Block, error) {
	id, err := strconv.Atoi(strings.TrimPrefix(name, "b"))
	if err != nil || !strings.HasPrefix(name, "b") {
		return nil, fmt.Errorf("got %q, want a block", name)
	}
	b := ps.blocks[name]
	if b == nil {
		b = &Block{ID: id}
		ps.blocks[name] = b
	}
	return b, nil
}

func (ps *parser) value(name string) (*Value, error) {
	id, err := strconv.Atoi(strings.TrimPrefix(name, "v"))
	if err != nil || !strings.HasPrefix(name, "v") {
		return nil, fmt.Errorf("got %q, want a value", name)
	}
	v := ps.values[name]
	if v == nil {
		v = &Value{ID: id}
		ps.values[name] = v
		ps.f.nextValue = max(ps.f.nextValue, id+1)
	}
	return v, nil
}

// define returns the value a line defines.
func (ps *parser) define(name string) (*Value, error) {
	v, err := ps.value(name)
	if err == nil && v.Op != OpInvalid {
		err = fmt.Errorf("%s is defined twice", name)
	}
	if v != nil {
		v.Span = ps.span
	}
	return v, err
}

func (ps *parser) label(s string) error {
	name, params, _ := strings.Cut(strings.TrimSuffix(s, ")"), "(")
	b, err := ps.block(name)
	if err != nil {
		return err
	}
	if b.ID != len(ps.f.Blocks) {
		return fmt.Errorf("got b%d, want b%d", b.ID, len(ps.f.Blocks))
	}
	for _, p := range list(params) {
		name, class, _ := strings.Cut(p, ":")
		v, err := ps.define(strings.TrimSpace(name))
		if err != nil {
			return err
		}
		c, ok := find(strings.TrimSpace(class), int(BTFPtrOrNull)+1, func(i int) string { return Class(i).String() })
		if !ok {
			return fmt.Errorf("unknown class %q", class)
		}
		v.Op, v.Class = OpParam, Class(c)
		b.Params = append(b.Params, v)
	}
	ps.f.Blocks = append(ps.f.Blocks, b)
	ps.blk = b
	return nil
}

func (ps *parser) target(s string) (*Block, []*Value, error) {
	name, args, _ := strings.Cut(strings.TrimSuffix(strings.TrimSpace(s), ")"), "(")
	b, err := ps.block(name)
	if err != nil {
		return nil, nil, err
	}
	var vs []*Value
	for _, a := range list(args) {
		v, err := ps.value(a)
		if err != nil {
			return nil, nil, err
		}
		vs = append(vs, v)
	}
	return b, vs, nil
}

func (ps *parser) term(kind TermKind, cond, then, els string) (err error) {
	t := Term{Kind: kind, Span: ps.span}
	if cond != "" {
		if t.Cond, err = ps.value(cond); err != nil {
			return err
		}
	}
	if then != "" {
		if t.Then, t.ThenArgs, err = ps.target(then); err != nil {
			return err
		}
	}
	if els != "" {
		if t.Else, t.ElseArgs, err = ps.target(els); err != nil {
			return err
		}
	}
	ps.blk.Term = t
	return nil
}

func (ps *parser) inst(s string) error {
	word, rest, _ := strings.Cut(s, " ")
	switch word {
	case "→":
		return ps.term(TermJump, "", rest, "")
	case "ret":
		return ps.term(TermRet, strings.TrimSpace(rest), "", "")
	case "if", "nullcheck":
		kind := TermIf
		if word == "nullcheck" {
			kind = TermNullCheck
		}
		w := strings.Split(rest, "→")
		if len(w) != 3 {
			return fmt.Errorf("want %s v → b else → b", word)
		}
		return ps.term(kind, strings.TrimSpace(w[0]), strings.TrimSuffix(strings.TrimSpace(w[1]), "else"), w[2])
	}
	if word == "maygoto" {
		w := strings.Split(rest, "→")
		if len(w) != 3 {
			return fmt.Errorf("want maygoto → b else → b")
		}
		return ps.term(TermMayGoto, "", strings.TrimSuffix(strings.TrimSpace(w[1]), "else"), w[2])
	}
	v := &Value{Span: ps.span}
	name, text, ok := strings.Cut(s, "=")
	if ok && strings.HasPrefix(name, "v") {
		var err error
		if v, err = ps.define(strings.TrimSpace(name)); err != nil {
			return err
		}
	} else {
		text = s
		ps.void = append(ps.void, v)
	}
	word, rest, _ = strings.Cut(strings.TrimSpace(text), " ")
	word, suffix, _ := strings.Cut(word, ".")
	op, ok := find(word, int(numOps), func(i int) string { return Op(i).String() })
	if !ok || Op(op) == OpInvalid || Op(op) == OpParam {
		return fmt.Errorf("unknown operation %q", word)
	}
	v.Op, v.Class = Op(op), opTable[op].class
	parts := list(rest)
	if v.Op == OpBytes { // data may hold commas
		parts = strings.SplitN(rest, ",", 3)
	}
	if err := ps.fields(v, parts); err != nil {
		return err
	}
	ps.blk.Insts = append(ps.blk.Insts, v)
	return ps.finish(v, suffix)
}

func (ps *parser) fields(v *Value, parts []string) (err error) {
	syntax := opSyntax(v.Op, max(opTable[v.Op].args, 0))
	if v.Op == OpHelper {
		syntax = opSyntax(v.Op, len(parts)-1)
	}
	if len(parts) != len(syntax) {
		return fmt.Errorf("%s takes %d operands, got %d", v.Op, len(syntax), len(parts))
	}
	for i, f := range syntax {
		s, ok := strings.TrimSpace(parts[i]), true
		switch f {
		case fieldImm:
			v.Imm, err = strconv.ParseInt(s, 0, 64)
		case fieldOff:
			var n int64
			n, err = strconv.ParseInt(s, 0, 32)
			v.Off = int32(n)
		case fieldMap:
			v.Map, ok = ps.maps[s]
		case fieldSlot:
			var n int
			if n, err = strconv.Atoi(strings.TrimPrefix(s, "s")); err == nil && n < len(ps.f.Slots) {
				v.Slot = ps.f.Slots[n]
			}
			ok = v.Slot != nil
		case fieldData:
			v.Data, err = strconv.Unquote(s)
		case fieldHelper:
			var n int
			n, ok = find(s, int(numHelpers), func(i int) string { return Helper(i).String() })
			v.Helper = Helper(n)
		default:
			var a *Value
			a, err = ps.value(s)
			v.Args = append(v.Args, a)
		}
		if err != nil {
			return err
		}
		if !ok {
			return fmt.Errorf("unknown name %q", s)
		}
	}
	return nil
}

// finish sets what the suffix says and the class where the table leaves it open.
func (ps *parser) finish(v *Value, suffix string) error {
	switch v.Op {
	case OpOffset, OpIndex:
		v.Class = v.Args[0].Class
	case OpNonNull:
		v.Class = v.Args[0].Class.nonNull()
	case OpHelper:
		v.Class = helperTable[v.Helper].class
	case OpRingReserve:
		v.Map = ps.prog.Ring
	case OpRead, OpReadN, OpReadStr, OpStack:
		v.Signed = suffix == "kernel"
	case OpLoad, OpExt, OpStore:
		switch suffix {
		case "btf":
			v.Class, v.Width = BTFPtr, 8
			return nil
		case "btf_or_null":
			v.Class, v.Width = BTFPtrOrNull, 8
			return nil
		}
		v.Signed = strings.HasPrefix(suffix, "s")
		n, err := strconv.Atoi(strings.TrimLeft(suffix, "us"))
		if err != nil || n != 1 && n != 2 && n != 4 && n != 8 {
			return fmt.Errorf("bad width %q", suffix)
		}
		v.Width = uint8(n)
	}
	return nil
}

// list splits at commas; blanks around the parts go.
func list(s string) []string {
	if strings.TrimSpace(s) == "" {
		return nil
	}
	parts := strings.Split(s, ",")
	for i := range parts {
		parts[i] = strings.TrimSpace(parts[i])
	}
	return parts
}

// find looks a name up in a small enumeration.
func find(name string, n int, at func(int) string) (int, bool) {
	for i := range n {
		if at(i) == name {
			return i, true
		}
	}
	return 0, false
}
