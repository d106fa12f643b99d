package edit

import (
	"strings"
	"unicode"

	"github.com/chzyer/readline"
)

// lineState is what belongs to the line being read.
type lineState struct {
	prompt string
	line   []rune // as of the last key
	pos    int
	done   bool   // Enter: the next drawing is the last
	over   bool   // it was drawn
	suffix string // shown behind the line when it is over
	lists  bool   // the last key was a Tab that listed

	at  int    // in the history; its length is the line itself
	own []rune // the line itself while an entry of the history is shown

	searching, missed bool
	query             string
	found             int    // where in the history
	before            []rune // the line before the search
}

// filter sees every rune before readline does. It never drops one: readline then keeps reading after the line's end.
func (e *Editor) filter(r rune) (out rune, process bool) {
	out, process = r, true
	e.guard(func() { out = e.translate(r) })
	return out, process
}

func (e *Editor) translate(r rune) rune {
	l := &e.line
	if l.searching {
		switch r {
		case enter, newline: // takes what was found; the next Enter runs it
			e.rl.Terminal.KickRead() // readline stops reading after these
			return markAccept
		case interrupt:
			e.rl.Terminal.KickRead()
			return markEscape
		case deleteOrEnd:
			e.rl.Terminal.KickRead()
			return markAccept
		}
		return r
	}
	switch r {
	case enter, newline:
		if e.opt.Hooks.More != nil {
			if more, _ := e.opt.Hooks.More(string(l.line)); more && !blankRow(l.line, l.pos) {
				e.rl.Terminal.KickRead()
				return markNewline
			}
		}
		l.done = true
	case interrupt:
		l.done, l.suffix = true, "^C"
	case deleteOrEnd:
		l.done = len(l.line) == 0
	}
	return r
}

// blankRow tells whether the cursor is at the end of the line, on a row of its own that is blank: that ends any line.
func blankRow(line []rune, pos int) bool {
	if pos != len(line) || len(line) == 0 {
		return false
	}
	for i := len(line) - 1; i >= 0; i-- {
		if line[i] == '\n' {
			return true
		}
		if !unicode.IsSpace(line[i]) {
			return false
		}
	}
	return false
}

// change is called after every key that readline handled. A mark has been written into the line: it comes out again.
func (e *Editor) change(line []rune, pos int, key rune) ([]rune, int, bool) {
	l := &e.line
	if key == 0 && line == nil { // a new line begins
		return nil, 0, false
	}
	if l.over || key == 0 {
		select {
		case e.settled <- struct{}{}:
		default:
		}
		return nil, 0, false
	}
	changed := false
	if isMark(key) && pos > 0 && line[pos-1] == key {
		line, pos = without(line, pos-1, pos), pos-1
		changed = true
		line, pos = e.mark(key, line, pos)
	} else if l.searching {
		line, pos = e.searchKey(line, pos, key)
		changed = true
	}
	if key != markTab {
		l.lists = false
	}
	l.line, l.pos = append(l.line[:0], line...), pos
	return line, pos, changed
}

// mark does what a mark stands for.
func (e *Editor) mark(m rune, line []rune, pos int) ([]rune, int) {
	l := &e.line
	if l.searching {
		switch m {
		case markSearch:
			return e.search(l.found-1, line, pos)
		case markEscape:
			l.searching = false
			return append([]rune(nil), l.before...), len(l.before)
		case markPrint, markResize:
		default:
			l.searching = false
		}
	}
	switch m {
	case markPrint:
		e.mu.Lock()
		e.flush()
		e.mu.Unlock()
	case markTab:
		return e.complete(line, pos)
	case markSearch:
		l.searching, l.missed, l.query, l.found = true, false, "", e.opt.History.Len()
		l.before = append([]rune(nil), line...)
	case markPrev:
		return e.recall(-1, line, pos)
	case markNext:
		return e.recall(1, line, pos)
	case markDelete:
		if pos < len(line) {
			return without(line, pos, pos+1), pos
		}
	case markWordLeft:
		return line, wordLeft(line, pos)
	case markWordRight:
		return line, wordRight(line, pos)
	case markWordKillBack:
		at := wordLeft(line, pos)
		return without(line, at, pos), at
	case markWordKill:
		return without(line, pos, wordRight(line, pos)), pos
	case markTranspose:
		return transpose(line, pos)
	case markClear:
		e.screen.Clear()
	case markSuspend:
		e.suspend()
	case markNewline:
		indent := 0
		if e.opt.Hooks.More != nil {
			_, indent = e.opt.Hooks.More(string(line[:pos]))
		}
		return insert(line, pos, []rune("\n"+strings.Repeat(" ", indent)))
	case markPaste:
		return insert(line, pos, []rune(e.keys.Paste()))
	}
	return line, pos
}

// suspend stops the process as Ctrl-Z does elsewhere; the line stays.
func (e *Editor) suspend() {
	t := e.opt.Terminal
	if t.Suspend == nil {
		return
	}
	e.screen.Raw(pasteOff)
	e.screen.Drop()
	if e.mode(t.Restore) == nil {
		t.Suspend()
	}
	if err := e.mode(t.MakeRaw); err != nil {
		panic(err)
	}
	e.screen.Raw(pasteOn)
}

// recall goes through the history; within a line of several rows it moves the cursor first.
func (e *Editor) recall(step int, line []rune, pos int) ([]rune, int) {
	if at, ok := vertical(line, pos, step); ok {
		return line, at
	}
	l := &e.line
	at := l.at + step
	if at < 0 || at > e.opt.History.Len() {
		e.screen.Raw("\a")
		return line, pos
	}
	if l.at == e.opt.History.Len() {
		l.own = append([]rune(nil), line...)
	}
	l.at = at
	if at == e.opt.History.Len() {
		line = append([]rune(nil), l.own...)
	} else {
		line = []rune(e.opt.History.At(at))
	}
	return line, len(line)
}

// vertical moves the cursor to the row above or below, as far right as it was.
func vertical(line []rune, pos, step int) (at int, ok bool) {
	start := func(i int) int {
		for i > 0 && line[i-1] != '\n' {
			i--
		}
		return i
	}
	end := func(i int) int {
		for i < len(line) && line[i] != '\n' {
			i++
		}
		return i
	}
	from := start(pos)
	if step < 0 {
		if from == 0 {
			return pos, false
		}
		return min(start(from-1)+pos-from, from-1), true
	}
	below := end(pos)
	if below == len(line) {
		return pos, false
	}
	return min(below+1+pos-from, end(below+1)), true
}

// searchKey handles a key that is no mark during a search: readline has written it into the line already.
func (e *Editor) searchKey(line []rune, pos int, key rune) ([]rune, int) {
	l := &e.line
	switch {
	case key == backspace || key == rubout:
		if q := []rune(l.query); len(q) > 0 {
			l.query = string(q[:len(q)-1])
		}
		return e.search(e.opt.History.Len()-1, line, pos)
	case key >= ' ' && pos > 0:
		l.query += string(key)
		return e.search(min(l.found, e.opt.History.Len()-1), without(line, pos-1, pos), pos-1)
	}
	l.searching = false
	return line, pos
}

// search looks for the query from an entry of the history on backwards.
func (e *Editor) search(from int, line []rune, pos int) ([]rune, int) {
	l := &e.line
	l.missed = false
	if l.query == "" {
		return line, pos
	}
	for i := from; i >= 0; i-- {
		text := e.opt.History.At(i)
		at := strings.Index(strings.ToLower(text), strings.ToLower(l.query))
		if at < 0 || at > len(text) {
			continue
		}
		l.found, l.at = i, i
		return []rune(text), len([]rune(text[:at]))
	}
	l.missed = true
	return line, pos
}

func without(line []rune, from, to int) []rune {
	return append(append(make([]rune, 0, len(line)), line[:from]...), line[to:]...)
}

func insert(line []rune, pos int, text []rune) ([]rune, int) {
	out := append(append(append(make([]rune, 0, len(line)+len(text)), line[:pos]...), text...), line[pos:]...)
	return out, pos + len(text)
}

// wordLeft is the start of the word before the cursor.
func wordLeft(line []rune, pos int) int {
	for pos > 0 && readline.IsWordBreak(line[pos-1]) {
		pos--
	}
	for pos > 0 && !readline.IsWordBreak(line[pos-1]) {
		pos--
	}
	return pos
}

// wordRight is the end of the word at or behind the cursor.
func wordRight(line []rune, pos int) int {
	for pos < len(line) && readline.IsWordBreak(line[pos]) {
		pos++
	}
	for pos < len(line) && !readline.IsWordBreak(line[pos]) {
		pos++
	}
	return pos
}

// transpose swaps the two runes before the cursor, or around it.
func transpose(line []rune, pos int) ([]rune, int) {
	if pos == 0 || len(line) < 2 {
		return line, pos
	}
	if pos == len(line) {
		pos--
	}
	out := append([]rune(nil), line...)
	out[pos-1], out[pos] = out[pos], out[pos-1]
	return out, pos + 1
}
