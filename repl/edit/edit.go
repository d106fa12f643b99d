// Package edit is a line editor for a terminal: chzyer/readline behind shims that take away what is wrong with it.
//
// Algorithm: readline keeps the buffer of the line, the raw mode of the terminal and the loop over runes; everything else
// is here. Keys (keys.go) turns the bytes of the terminal into runes: those that readline handles well pass, all others
// become marks, runes of a private range, which a Listener turns into changes of the line on readline's own goroutine.
// What readline writes is thrown away: Screen (screen.go) draws the rows itself from the line, its styles and the
// place of the cursor, which the Painter is told before every write. So readline believes in a terminal of endless width
// and neither its wrapping, its completion, its search nor its history ever runs.
//
// What happens beside the prompt (text to print above it, a new size of the terminal) comes in as marks too. So
// readline's state, which has no locks worth the name, is touched by one goroutine at a time.
//
// Invariants: text above the prompt is whole lines; no control character of a traced program reaches the terminal; the
// editor never reads more than it was asked for while no line is being read; a panic in a callback ends the editor with
// an error and not the process.
//
// This package knows nothing of the language: Hooks do. Start at New and Editor.ReadLine.
package edit

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"

	"github.com/chzyer/readline"
)

// Errors of ReadLine besides io.EOF.
var (
	ErrInterrupt = errors.New("interrupted")
	ErrFailed    = errors.New("the line editor failed")
)

// Candidate is one completion: Text replaces the line from Completion.From to the cursor.
type Candidate struct {
	Text  string
	Label string // what the list shows, Text if empty
}

// Completion is what may stand at the cursor. Offsets are in bytes.
type Completion struct {
	From int
	List []Candidate
	More int // candidates that were left out
}

// Style is the SGR parameters of a part of a line, such as "1;34".
type Style struct {
	Start, End int // bytes
	SGR        string
}

// Hooks are what the editor asks about a line. They are called on every key and answer from memory; any may be nil.
type Hooks struct {
	Complete func(line string, offset int) Completion
	Styles   func(line string) []Style
	Hint     func(line string, offset int) string      // one row below the line
	More     func(line string) (more bool, indent int) // does the line want another row before it can be taken?
	Resized  func(width, height int)
}

// Terminal is what the editor works on. Tests give one of their own.
type Terminal struct {
	In      io.Reader
	Out     io.Writer
	Size    func() (width, height int)
	MakeRaw func() error // keys come as they are typed, Ctrl-C too
	Idle    func() error // between lines: the same, but Ctrl-C is a signal
	Restore func() error // as it was
	Suspend func()       // Ctrl-Z; nil for nothing
	Resize  <-chan struct{}
}

// Options is how an editor is set up.
type Options struct {
	Terminal Terminal
	Hooks    Hooks
	History  *History
	Colour   bool
}

// Editor reads lines.
type Editor struct {
	opt     Options
	keys    *Keys
	screen  *Screen
	rl      *readline.Instance
	stop    chan struct{}
	closing sync.Once
	ended   sync.WaitGroup
	// settled is sent to when readline's goroutine has left the line that ReadLine returns.
	settled chan struct{}

	modes    sync.Mutex // guards the mode of the terminal
	restored bool       // for good

	mu     sync.Mutex // guards what follows
	active bool       // a line is being read
	queue  []string   // lines to print above the prompt
	failed error
	eof    bool

	line lineState // touched by readline's goroutine, and between lines by that of ReadLine
}

// endless is the width that readline believes in.
const endless = 1 << 24

// New sets up an editor. Close it.
func New(o Options) (*Editor, error) {
	e := &Editor{opt: o, stop: make(chan struct{}), settled: make(chan struct{}, 1)}
	e.keys = NewKeys(o.Terminal.In)
	e.screen = NewScreen(o.Terminal.Out, o.Terminal.Size)
	var err error
	e.rl, err = readline.NewEx(&readline.Config{
		Stdin: e.keys, Stdout: shim{e}, Stderr: shim{e},
		HistoryLimit: -1, DisableAutoSaveHistory: true,
		AutoComplete: noCompleter{}, Painter: shim{e}, Listener: shim{e},
		InterruptPrompt: "\n", EOFPrompt: "\n",
		FuncFilterInputRune: e.filter,
		FuncGetWidth:        func() int { return endless },
		FuncIsTerminal:      func() bool { return true },
		FuncMakeRaw:         func() error { return e.mode(o.Terminal.MakeRaw) }, FuncExitRaw: func() error { return e.mode(o.Terminal.Idle) },
		FuncOnWidthChanged: func(func()) {},
	})
	if err != nil {
		return nil, fmt.Errorf("set up line editor: %w", err)
	}
	if o.Terminal.Resize != nil {
		e.ended.Go(e.watchSize)
	}
	return e, nil
}

// watchSize tells the editor of new sizes of the terminal.
func (e *Editor) watchSize() {
	for {
		select {
		case <-e.stop:
			return
		case <-e.opt.Terminal.Resize:
			e.mu.Lock()
			active := e.active
			e.mu.Unlock()
			if active {
				e.keys.Post(markResize)
			}
			if e.opt.Hooks.Resized != nil {
				e.opt.Hooks.Resized(e.opt.Terminal.Size())
			}
		}
	}
}

// Close lets go of the terminal. It does not hang, whatever the terminal does.
func (e *Editor) Close() error {
	var err error
	e.closing.Do(func() {
		close(e.stop)
		e.keys.Close() // first: readline waits for its reader
		e.ended.Wait()
		e.screen.Mute()
		err = e.rl.Close()
		e.modes.Lock()
		defer e.modes.Unlock()
		e.restored = true
		err = errors.Join(err, e.opt.Terminal.Restore())
	})
	return err
}

// mode changes the mode of the terminal, unless the editor is closed: then it stays as it was found.
func (e *Editor) mode(set func() error) error {
	e.modes.Lock()
	defer e.modes.Unlock()
	if e.restored {
		return nil
	}
	return set()
}

// pasteOn asks the terminal to mark what is pasted; pasteOff ends that.
const (
	pasteOn  = "\x1b[?2004h"
	pasteOff = "\x1b[?2004l"
)

// ReadLine reads one line, which may have several rows. The errors are io.EOF, ErrInterrupt (with the line so far) and
// ErrFailed.
func (e *Editor) ReadLine(prompt string) (string, error) {
	e.mu.Lock()
	if e.failed != nil || e.eof {
		defer e.mu.Unlock()
		return "", cmp.Or(e.failed, io.EOF)
	}
	e.line = lineState{prompt: prompt, at: e.opt.History.Len()}
	e.active = true
	if len(e.queue) > 0 {
		e.keys.Post(markPrint)
	}
	e.mu.Unlock()
	e.screen.Raw(pasteOn)
	text, err := e.rl.Readline()
	over := false
	select {
	case <-e.settled:
		over = e.line.over
	case <-e.keys.stop: // nothing is read any more, and readline may still touch the line
	}
	e.screen.Raw(pasteOff)

	e.mu.Lock()
	defer e.mu.Unlock()
	e.active = false
	if !over { // the stream ended
		e.eof = true
		e.screen.Leave()
	}
	e.flush()
	switch {
	case e.failed != nil:
		return "", e.failed
	case errors.Is(err, readline.ErrInterrupt):
		return text, ErrInterrupt
	case errors.Is(err, io.EOF) && e.keys.Lost() != nil:
		return text, fmt.Errorf("read line: %w", e.keys.Lost())
	case err != nil && !errors.Is(err, io.EOF):
		return text, fmt.Errorf("read line: %w", err)
	}
	return text, err
}

// Print shows text above the prompt, or where the cursor is when no line is being read. A last line without its end gets
// one. It may be called from any goroutine.
func (e *Editor) Print(text string) {
	if text == "" {
		return
	}
	if !strings.HasSuffix(text, "\n") {
		text += "\n"
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.queue = append(e.queue, text)
	if e.active {
		e.keys.Post(markPrint)
	} else {
		e.flush()
	}
}

// flush prints what waits. The mutex is held.
func (e *Editor) flush() {
	for _, text := range e.queue {
		e.screen.Above(text)
	}
	e.queue = nil
}

// fail ends the editor after a panic in a callback.
func (e *Editor) fail(r any) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.failed == nil {
		e.failed = fmt.Errorf("%w: %v", ErrFailed, r)
		go e.keys.Close() // ReadLine then returns
	}
}

// guard runs a callback; a panic in it ends the editor.
func (e *Editor) guard(f func()) {
	defer func() {
		if r := recover(); r != nil {
			e.fail(r)
		}
	}()
	f()
}

// noCompleter keeps readline from completing by itself.
type noCompleter struct{}

// Do implements readline.AutoCompleter.
func (noCompleter) Do([]rune, int) ([][]rune, int) { return nil, 0 }

// shim is the editor as readline's Painter, Listener and Stdout.
type shim struct{ e *Editor }

// Paint implements readline.Painter: it only notes what is about to be drawn.
func (s shim) Paint(line []rune, pos int) []rune {
	s.e.guard(func() { s.e.paint(line, pos) })
	return nil
}

// OnChange implements readline.Listener.
func (s shim) OnChange(line []rune, pos int, key rune) (out []rune, outPos int, ok bool) {
	s.e.guard(func() { out, outPos, ok = s.e.change(line, pos, key) })
	return out, outPos, ok
}

// Write implements io.Writer: what readline writes is its own idea of the screen and goes nowhere, but for the bell.
func (s shim) Write(b []byte) (int, error) {
	if len(b) == 1 && b[0] == bell {
		s.e.screen.Raw(string(b))
	}
	return len(b), nil
}

// paint draws the line, unless a mark in it is about to be taken out again.
func (e *Editor) paint(line []rune, pos int) {
	for _, r := range line {
		if isMark(r) {
			return
		}
	}
	l := &e.line
	if l.done {
		if n := len(line); n > 0 && line[n-1] == '\n' {
			e.screen.Finish(e.layout(append(line[:n-1:n-1], []rune(l.suffix)...), n-1, false))
			l.done, l.over = false, true
		}
		return
	}
	if l.over { // readline empties its buffer after the line was taken
		return
	}
	e.screen.Draw(e.layout(line, pos, true))
}

// Rest reads the terminal after the editor has failed and was closed.
func (e *Editor) Rest() io.Reader { return e.keys.Rest() }
