package repl

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/slopebpf/slope/compiler"
	"github.com/slopebpf/slope/compiler/ir"
	"github.com/slopebpf/slope/lang/source"
	"github.com/slopebpf/slope/lang/syntax"
	"github.com/slopebpf/slope/lang/types"
)

// Item is one thing that was entered.
type Item struct {
	ID   int
	Key  string // what is replaced when it is entered again
	Text string

	began []int // where the bodies of begin are that ran: they do not again
	ran   []cut // what keeps them from it
}

// cut is a predicate that is put into the text of an item.
type cut struct {
	at   int
	text string
}

// Session is what was entered and what runs of it. It is for one goroutine, but for Object.
type Session struct {
	machine Machine
	items   []*Item
	last    int // number of the last item
	prog    Program
	paused  bool
	exited  bool // it is paused because the script called exit(): the next entry ends that

	mu  sync.Mutex // guards obj
	obj *compiler.Object
}

// NewSession makes an empty session.
func NewSession(m Machine) *Session { return &Session{machine: m} }

// Program is what runs, nil when nothing does.
func (s *Session) Program() Program { return s.prog }

// Object is the compiled script, nil when there is none.
func (s *Session) Object() *compiler.Object {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.obj
}

// Items are the entered items, in order.
func (s *Session) Items() []*Item { return s.items }

// Entered is what an entry did.
type Entered struct {
	New, Replaced []*Item
	Swap          Swap
}

// Enter takes a line, or a whole file, into the script. Diagnostics with errors mean that nothing has changed.
func (s *Session) Enter(file *source.File) (Entered, source.Diagnostics, error) {
	tree, diags := syntax.Parse(file)
	if diags.HasErrors() {
		return Entered{}, diags, nil
	}
	entry := split(file, tree)
	if len(entry) == 0 {
		return Entered{}, diags, nil
	}
	var done Entered
	items, last := slices.Clone(s.items), s.last
	for _, n := range entry {
		at := slices.IndexFunc(items, func(i *Item) bool { return i.Key == n.Key })
		if at >= 0 {
			n.ID = items[at].ID
			items[at] = n
			done.Replaced = append(done.Replaced, n)
			continue
		}
		last++
		n.ID = last
		items = append(items, n)
		done.New = append(done.New, n)
	}
	swap, more, err := s.change(items, file, entry)
	diags = append(diags, more...)
	if err != nil || diags.HasErrors() {
		return Entered{}, diags, err
	}
	s.last, done.Swap = last, swap
	return done, diags, nil
}

// Drop takes items out of the script, by number.
func (s *Session) Drop(ids []int) (Swap, source.Diagnostics, error) {
	var items []*Item
	for _, i := range s.items {
		if !slices.Contains(ids, i.ID) {
			items = append(items, i)
		}
	}
	for _, id := range ids {
		if !slices.ContainsFunc(s.items, func(i *Item) bool { return i.ID == id }) {
			return Swap{}, nil, fmt.Errorf("there is no #%d", id)
		}
	}
	return s.change(items, nil, nil)
}

// Pause detaches every probe and keeps the maps; Pause(false) attaches them again.
func (s *Session) Pause(on bool) (Swap, error) {
	if s.paused == on {
		if on {
			return Swap{}, fmt.Errorf("it is paused already")
		}
		return Swap{}, fmt.Errorf("it is not paused")
	}
	s.paused = on
	if s.prog == nil {
		return Swap{}, nil
	}
	swap, diags, err := s.change(s.items, nil, nil)
	if err == nil && diags.HasErrors() {
		err = diags
	}
	if err != nil {
		s.paused = !on
	}
	return swap, err
}

// change makes other items the script. fresh are those that come from file.
func (s *Session) change(items []*Item, file *source.File, fresh []*Item) (Swap, source.Diagnostics, error) {
	if len(items) == 0 {
		var swap Swap
		if s.prog != nil {
			p, w, err := s.machine.Start(nil, s.prog, true)
			if err != nil {
				return Swap{}, nil, err
			}
			swap, s.prog = w, p
		}
		s.commit(items, nil)
		return swap, nil, nil
	}
	text := compose(items, file, fresh)
	obj, diags := s.machine.Compile(text.file)
	diags = text.home(diags)
	if obj == nil {
		return Swap{}, diags, nil
	}
	quiet := s.paused && !(s.exited && len(fresh) > 0)
	p, swap, err := s.machine.Start(obj, s.prog, quiet)
	if err != nil {
		if d := (source.Diagnostics)(nil); errors.As(err, &d) {
			return Swap{}, append(diags, text.home(d)...), nil
		}
		return Swap{}, diags, err
	}
	s.prog, s.paused = p, quiet
	s.exited = s.exited && quiet
	text.noteBegins(obj)
	s.commit(items, obj)
	return swap, diags, nil
}

func (s *Session) commit(items []*Item, obj *compiler.Object) {
	s.items = items
	s.mu.Lock()
	defer s.mu.Unlock()
	s.obj = obj
}

// Script is the script as it is saved: formatted, without what the session put into it.
func (s *Session) Script() (string, error) {
	var b strings.Builder
	for _, i := range ordered(s.items) {
		b.WriteString(i.Text + "\n")
	}
	tree, diags := syntax.Parse(source.NewFile("session", b.String()))
	if diags.HasErrors() {
		return "", diags
	}
	var out strings.Builder
	if err := syntax.Print(&out, tree); err != nil {
		return "", err
	}
	return out.String(), nil
}

// split makes items of a text; what has the same name is one item. Comments go with what follows.
func split(file *source.File, tree *syntax.File) []*Item {
	var out []*Item
	from := int32(0)
	for n, it := range tree.Items {
		to := it.Span().End
		if n == len(tree.Items)-1 {
			to = int32(len(file.Text))
		}
		if d, ok := it.(*syntax.Directive); ok && strings.HasPrefix(d.Text, "#!") {
			from = to
			continue
		}
		text, key := strings.TrimSpace(file.Text[from:to]), key(it)
		from = to
		if at := slices.IndexFunc(out, func(i *Item) bool { return i.Key == key }); at >= 0 {
			out[at].Text += "\n" + text
			continue
		}
		out = append(out, &Item{Key: key, Text: text})
	}
	return out
}

// key is the name under which an item is replaced.
func key(it syntax.Item) string {
	switch it := it.(type) {
	case *syntax.Probe:
		var names []string
		for _, a := range it.Attach {
			if a.Alias != "" {
				return "alias " + a.Alias
			}
			names = append(names, strings.ToLower(a.Raw[:max(strings.IndexByte(a.Raw, ':'), 0)])+a.Raw[max(strings.IndexByte(a.Raw, ':'), 0):])
		}
		return "probe " + strings.Join(names, ", ")
	case *syntax.SLI:
		return "sli " + it.Name.Text
	case *syntax.SLO:
		return "slo " + it.Name.Text
	case *syntax.Macro:
		return "macro " + it.Name.Text
	case *syntax.Fn:
		return "fn " + it.Name.Text
	case *syntax.MapDecl:
		return "let @" + it.Name.Text
	case *syntax.Export:
		return "export @" + it.Map.Text
	case *syntax.Import:
		return "import " + it.Path.Value
	case *syntax.Test:
		return "test " + it.Name.Value
	case *syntax.Config:
		return "config"
	case *syntax.CDef:
		head, _, _ := strings.Cut(it.Text, "{")
		return "type " + strings.Join(strings.Fields(head), " ")
	case *syntax.Directive:
		return "line " + it.Text
	}
	return "?"
}

// rank is where items stand in a script: C, configuration and imports come first.
func rank(i *Item) int {
	word, _, _ := strings.Cut(i.Key, " ")
	switch word {
	case "line", "type":
		return 0
	case "config":
		return 1
	case "import":
		return 2
	}
	return 3
}

func ordered(items []*Item) []*Item {
	out := slices.Clone(items)
	slices.SortStableFunc(out, func(a, b *Item) int { return rank(a) - rank(b) })
	return out
}

// script is the text of all items, and where each part of it comes from.
type script struct {
	file   *source.File
	pieces []piece
}

// piece is a part of the script's text that was copied from a file.
type piece struct {
	start, end int32
	item       *Item
	inItem     int32 // offset in the item's text
	file       *source.File
	offset     int32 // in the file
}

// compose joins the items. Places in fresh items are told as those of the file they come from.
func compose(items []*Item, file *source.File, fresh []*Item) *script {
	var b strings.Builder
	s := &script{}
	searched := 0
	for _, i := range ordered(items) {
		home, offset := source.NewFile(fmt.Sprintf("#%d", i.ID), i.Text), 0
		if slices.Contains(fresh, i) {
			if at := strings.Index(file.Text[searched:], i.Text); at >= 0 {
				home, offset = file, searched+at
			} else if at := strings.Index(file.Text, i.Text); at >= 0 {
				home, offset = file, at
			}
		}
		from := 0
		put := func(to int) {
			s.pieces = append(s.pieces, piece{int32(b.Len()), int32(b.Len() + to - from), i, int32(from), home, int32(offset + from)})
			b.WriteString(i.Text[from:to])
			from = to
		}
		for _, c := range i.ran {
			put(c.at)
			b.WriteString(c.text)
		}
		put(len(i.Text))
		b.WriteByte('\n')
	}
	s.file = source.NewFile("session", b.String())
	return s
}

// find is the piece that holds an offset.
func (s *script) find(at int32) *piece {
	for i := range s.pieces {
		if p := &s.pieces[i]; at <= p.end {
			return p
		}
	}
	return &s.pieces[len(s.pieces)-1]
}

// home moves diagnostics from the script to what was entered.
func (s *script) home(diags source.Diagnostics) source.Diagnostics {
	out := slices.Clone(diags)
	for i := range out {
		d := &out[i]
		if d.File != s.file {
			continue
		}
		p := s.find(d.Span.Start)
		move := func(at int32) int32 { return p.offset + min(max(at-p.start, 0), p.end-p.start) }
		d.File, d.Span = p.file, source.Span{Start: move(d.Span.Start), End: move(d.Span.End)}
	}
	return out
}

// noteBegins marks the clauses of begin, which have run now: when the next item makes a new script of all, they must not
// run again. Their text stays in the script, with a predicate that is never true, since it gives maps their types.
func (s *script) noteBegins(obj *compiler.Object) {
	for _, c := range obj.Checked.Clauses {
		if slices.ContainsFunc(c.Targets, func(t *types.Target) bool { return t.Hook.Kind != types.HookBegin }) {
			continue
		}
		body := c.Probe.Body.Span().Start
		p := s.find(body)
		if at := int(p.inItem + body - p.start); !slices.Contains(p.item.began, at) {
			p.item.began = append(p.item.began, at)
		} else {
			continue // it had run before
		}
		cuts := []cut{{int(body), "/0/ "}}
		if c.Probe.Pred != nil {
			span := c.Probe.Pred.Span()
			cuts = []cut{{int(span.Start), "0 && ("}, {int(span.End), ")"}}
		}
		for _, n := range cuts {
			at := s.find(int32(n.at))
			n.at += int(at.inItem - at.start)
			p.item.ran = append(p.item.ran, n)
		}
		slices.SortFunc(p.item.ran, func(a, b cut) int { return a.at - b.at })
	}
}

// attachable tells whether a program runs by itself, so that it does not while the session is paused.
func attachable(f *ir.Func) bool {
	switch f.Hooks[0].Kind {
	case types.HookBegin, types.HookEnd:
		return false
	}
	return true
}

// Quiet takes every program out of an object but those of begin and end.
func Quiet(obj *compiler.Object) {
	funcs, code := obj.IR.Funcs[:0:0], obj.Code[:0:0]
	for i, f := range obj.IR.Funcs {
		if !attachable(f) {
			funcs, code = append(funcs, f), append(code, obj.Code[i])
		}
	}
	obj.IR.Funcs, obj.Code = funcs, code
}

// More tells whether a line wants another row before it can be taken, and how far to indent that.
func (s *Session) More(line string) (more bool, indent int) {
	trimmed := strings.TrimSpace(line)
	if trimmed == "" || trimmed[0] == ':' || isWord(line) || isExpression(s.machine, line) {
		return false, 0
	}
	depth := 0
	for _, t := range syntax.Lex(line) {
		switch {
		case t.Kind != syntax.Op:
		case t.Text == "{":
			depth++
		case t.Text == "}":
			depth--
		}
	}
	_, diags := syntax.Parse(source.NewFile("line", line))
	return diags.Incomplete(), 2 * max(depth, 0)
}
