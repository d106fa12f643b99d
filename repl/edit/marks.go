package edit

// The control characters that readline handles itself.
const (
	lineStart   = 1
	backward    = 2
	interrupt   = 3
	deleteOrEnd = 4
	lineEnd     = 5
	forward     = 6
	bell        = 7
	backspace   = 8
	newline     = 10
	kill        = 11
	enter       = 13
	killFront   = 21
	yank        = 25
	rubout      = 127
)

// The marks: runes of a private range that stand for keys and events. Nothing else in that range passes Keys.
const (
	markFirst rune = 0xf500 + iota
	markTab
	markBackTab
	markSearch
	markPrev
	markNext
	markDelete
	markWordLeft
	markWordRight
	markWordKillBack
	markWordKill
	markTranspose
	markClear
	markSuspend
	markNewline // a row more, whatever the text says
	markEscape  // also Ctrl-G
	markPaste
	markPrint  // something waits to be printed
	markResize // the terminal has another size
	markAccept // of a search: take what was found
	markLast
)

func isMark(r rune) bool { return r >= markFirst && r <= markLast }

// passed are the control characters that go to readline as they are.
func passed(c byte) bool {
	switch c {
	case lineStart, backward, interrupt, deleteOrEnd, lineEnd, forward, backspace, newline, kill, enter, killFront, yank, rubout:
		return true
	}
	return false
}

// controls are the marks of the other control characters that mean something.
func controls(c byte) rune {
	switch c {
	case bell:
		return markEscape
	case '\t':
		return markTab
	case 12: // Ctrl-L
		return markClear
	case 14: // Ctrl-N
		return markNext
	case 16: // Ctrl-P
		return markPrev
	case 18: // Ctrl-R
		return markSearch
	case 20: // Ctrl-T
		return markTranspose
	case 23: // Ctrl-W
		return markWordKillBack
	case 26: // Ctrl-Z
		return markSuspend
	}
	return 0
}

// sequence is what an escape sequence means, without its ESC; 0 for nothing.
func sequence(s string) rune {
	switch s {
	case "[A", "OA":
		return markPrev
	case "[B", "OB":
		return markNext
	case "[C", "OC":
		return forward
	case "[D", "OD":
		return backward
	case "[H", "OH", "[1~", "[7~":
		return lineStart
	case "[F", "OF", "[4~", "[8~":
		return lineEnd
	case "[3~":
		return markDelete
	case "[Z":
		return markBackTab
	case "OM":
		return enter
	case "[1;5C", "[1;3C", "[5C", "Oc", "f":
		return markWordRight
	case "[1;5D", "[1;3D", "[5D", "Od", "b":
		return markWordLeft
	case "[1;5H", "[1;2H":
		return lineStart
	case "[1;5F", "[1;2F":
		return lineEnd
	case "[1;2C":
		return forward
	case "[1;2D":
		return backward
	case "[3;5~", "[3;3~", "d":
		return markWordKill
	case "\x7f", "\x08":
		return markWordKillBack
	case "\r", "\n", "[13;2u", "[27;2;13~", "[13;3u":
		return markNewline
	}
	return 0
}
