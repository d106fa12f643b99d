package repl

import (
	"strings"
	"sync"

	"github.com/slopebpf/slope/lang/ide"
	"github.com/slopebpf/slope/lang/source"
	"github.com/slopebpf/slope/lang/syntax"
	"github.com/slopebpf/slope/lang/types"
	"github.com/slopebpf/slope/repl/edit"
)

// world is what the session and the machine know, for lang/ide. It answers from memory; what takes time is looked up
// beside it and is there at the next key.
type world struct {
	machine Machine
	session *Session

	mu       sync.Mutex
	kernel   *ide.Names            // nil while it is being read
	binaries map[string]*ide.Names // by "uprobe:/bin/bash:"; nil while it is being read
	fields   map[string][]types.Field
	loading  sync.WaitGroup
	closed   bool
}

// lookups bounds how many attach points and binaries are remembered.
const lookups = 1000

func newWorld(m Machine, s *Session) *world {
	w := &world{machine: m, session: s, binaries: map[string]*ide.Names{}, fields: map[string][]types.Field{}}
	w.load(func() {
		names := w.list("")
		w.mu.Lock()
		w.kernel = names
		w.mu.Unlock()
	})
	return w
}

// load does something beside everything else.
func (w *world) load(f func()) {
	w.loading.Add(1)
	go func() {
		defer w.loading.Done()
		defer func() { _ = recover() }() // what cannot be completed is no reason to end
		f()
	}()
}

// close waits until nothing is being looked up.
func (w *world) close() {
	w.mu.Lock()
	w.closed = true
	w.mu.Unlock()
	w.loading.Wait()
}

func (w *world) list(pattern string) *ide.Names {
	var names []string
	err := w.machine.Probes(pattern, func(name string) bool {
		names = append(names, name)
		w.mu.Lock()
		defer w.mu.Unlock()
		return !w.closed
	})
	if err != nil && len(names) == 0 {
		return ide.NewNames(nil)
	}
	return ide.NewNames(names)
}

// Universe implements ide.World.
func (w *world) Universe() types.Universe { return w.machine }

// Probes implements ide.World.
func (w *world) Probes(prefix string, limit int) ([]string, int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	kind, rest, _ := strings.Cut(prefix, ":")
	if at := strings.IndexByte(rest, ':'); at > 0 && strings.HasPrefix(rest, "/") {
		binary := kind + ":" + rest[:at] + ":"
		names, known := w.binaries[binary]
		if !known && len(w.binaries) < lookups && !w.closed {
			w.binaries[binary] = nil
			w.load(func() {
				names := w.list(binary + "*")
				w.mu.Lock()
				defer w.mu.Unlock()
				w.binaries[binary] = names
			})
		}
		if names == nil {
			return nil, 0
		}
		return names.Prefix(prefix, limit)
	}
	if w.kernel == nil {
		return nil, 0
	}
	return w.kernel.Prefix(prefix, limit)
}

// Fields implements ide.World.
func (w *world) Fields(attach string) []types.Field {
	w.mu.Lock()
	defer w.mu.Unlock()
	fields, known := w.fields[attach]
	if known || strings.ContainsAny(attach, "*?{") || len(w.fields) >= lookups || w.closed {
		return fields
	}
	w.fields[attach] = nil
	w.load(func() {
		tree, _ := syntax.Parse(source.NewFile("", attach+" {}"))
		if len(tree.Items) == 0 {
			return
		}
		p, ok := tree.Items[0].(*syntax.Probe)
		if !ok || len(p.Attach) == 0 || len(p.Attach[0].Parts) == 0 {
			return
		}
		found, err := w.machine.Fields(p.Attach[0])
		if err != nil {
			return
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		w.fields[attach] = found
	})
	return nil
}

// Maps implements ide.World.
func (w *world) Maps() []ide.Map {
	obj := w.session.Object()
	if obj == nil {
		return nil
	}
	var out []ide.Map
	for _, m := range obj.Checked.Maps {
		out = append(out, ide.Map{Name: m.Name, Key: m.Key, Value: m.Value})
	}
	return out
}

// SLIs implements ide.World.
func (w *world) SLIs() []ide.SLI {
	obj := w.session.Object()
	if obj == nil {
		return nil
	}
	var out []ide.SLI
	for _, s := range obj.Checked.SLIs {
		l := ide.SLI{Name: s.Name, Doc: s.Doc}
		for _, x := range s.Labels {
			l.Labels = append(l.Labels, x.Name)
		}
		out = append(out, l)
	}
	return out
}

// SLOs implements ide.World.
func (w *world) SLOs() []string {
	obj := w.session.Object()
	if obj == nil {
		return nil
	}
	var out []string
	for _, o := range obj.Checked.SLOs {
		out = append(out, o.Name)
	}
	return out
}

// complete is the editor's completion: of commands, the shell's own words, and the language.
func (sh *shell) complete(line string, offset int) edit.Completion {
	before := line[:offset]
	if word := strings.TrimLeft(before, " "); strings.HasPrefix(word, ":") && !strings.Contains(word, " ") {
		c := edit.Completion{From: offset - len(word)}
		for _, k := range commands() {
			if strings.HasPrefix(":"+k.name, word) {
				c.List = append(c.List, edit.Candidate{Text: ":" + k.name, Label: ":" + k.name + " " + k.args})
			}
		}
		return c
	}
	if word, rest, ok := strings.Cut(before, " "); ok && isWord(word) {
		return sh.completeWord(word, rest, offset)
	}
	l := ide.Complete(line, offset, sh.world)
	c := edit.Completion{From: l.From, More: l.More}
	for _, i := range l.Items {
		c.List = append(c.List, edit.Candidate{Text: i.Text})
	}
	if !strings.ContainsAny(before, " :{") {
		for _, w := range words() {
			if strings.HasPrefix(w, before) {
				c.List = append(c.List, edit.Candidate{Text: w + " "})
			}
		}
	}
	return c
}

// completeWord completes what follows watch, heat, top, help.
func (sh *shell) completeWord(word, rest string, offset int) edit.Completion {
	at := strings.LastIndexAny(rest, " ,") + 1
	c := edit.Completion{From: offset - len(rest) + at}
	add := func(names ...string) {
		for _, n := range names {
			if strings.HasPrefix(n, rest[at:]) {
				c.List = append(c.List, edit.Candidate{Text: n})
			}
		}
	}
	if word == wordHelp {
		u := sh.machine()
		for _, class := range []types.NameClass{types.FuncNames, types.AggNames, types.VerbNames, types.VarNames, types.ProbeNames} {
			add(u.Names(class)...)
		}
		return c
	}
	for _, m := range sh.world.Maps() {
		add(m.Name)
	}
	for _, s := range sh.world.SLIs() {
		add(s.Name)
	}
	return c
}

func (sh *shell) machine() Machine { return sh.opt.Machine }

// hint is the row below the line: how the function at the cursor is called.
func (sh *shell) hint(line string, offset int) string {
	if a := ide.Attach(line, offset); a != "" {
		sh.world.Fields(a) // so that they are there when asked for
	}
	call, ok := ide.Signature(line, offset, sh.world)
	if !ok {
		return ""
	}
	return call.Label + "  " + call.Doc
}

// styles are the colours of a line.
func (sh *shell) styles(line string) []edit.Style {
	if strings.HasPrefix(strings.TrimLeft(line, " "), ":") {
		return nil
	}
	sgr := map[ide.Class]string{ide.KeywordClass: "1;34", ide.ProbeClass: "36", ide.FuncClass: "1", ide.BuiltinClass: "34",
		ide.VarClass: "35", ide.NumberClass: "33", ide.StringClass: "32", ide.CommentClass: "90", ide.BadClass: "31"}
	var out []edit.Style
	for _, s := range ide.Colours(line, sh.machine()) {
		out = append(out, edit.Style{Start: s.Start, End: s.End, SGR: sgr[s.Class]})
	}
	return out
}
