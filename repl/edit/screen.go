package edit

import (
	"fmt"
	"io"
	"strings"
	"sync"
)

// Frame is rows to draw and the place of the cursor in them. A row is at most as wide as the terminal.
type Frame struct {
	Rows     []string
	Row, Col int
}

// Screen draws a frame at the bottom of what was printed, and draws it anew in place.
//
// It knows on which of its rows the cursor is and moves by rows only, never by \b: that means different things at the
// edge of different terminals. Each row is written by itself, so nothing depends on how a terminal wraps. A frame is
// never higher than the terminal, or its first row could not be reached any more.
type Screen struct {
	mu    sync.Mutex
	w     io.Writer
	size  func() (width, height int)
	drawn Frame
	muted bool
	buf   strings.Builder
}

// NewScreen makes a screen on which nothing is drawn. The cursor is at the start of a row.
func NewScreen(w io.Writer, size func() (width, height int)) *Screen {
	return &Screen{w: w, size: size}
}

// Size is that of the terminal, with sane limits: a terminal may say 0, or not know.
func (s *Screen) Size() (width, height int) {
	width, height = s.size()
	if width <= 0 {
		width = 80
	}
	if height <= 0 {
		height = 24
	}
	return max(width, 4), max(height, 2)
}

// Mute ends all output.
func (s *Screen) Mute() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.muted = true
}

// Raw writes bytes that do not move the cursor.
func (s *Screen) Raw(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.write(text)
}

func (s *Screen) write(text string) {
	if !s.muted && text != "" {
		io.WriteString(s.w, text) // a terminal that is gone is noticed when it is read
	}
}

// Draw draws a frame in place of the one before.
func (s *Screen) Draw(f Frame) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.draw(f)
}

func (s *Screen) draw(f Frame) {
	s.erase()
	s.put(f)
	s.write(s.take())
}

// Finish draws a frame a last time and goes to the row below it.
func (s *Screen) Finish(f Frame) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.erase()
	s.buf.WriteString(strings.Join(f.Rows, "\r\n"))
	s.buf.WriteString("\r\n")
	s.write(s.take())
	s.drawn = Frame{}
}

// Leave goes to the row below the frame, which stays.
func (s *Screen) Leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := len(s.drawn.Rows); n > 0 {
		s.buf.WriteString(strings.Repeat("\n", n-s.drawn.Row) + "\r")
		s.write(s.take())
	}
	s.drawn = Frame{}
}

// Drop takes the frame away.
func (s *Screen) Drop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.erase()
	s.write(s.take())
	s.drawn = Frame{}
}

// Above prints text, which ends with a line end, above the frame.
func (s *Screen) Above(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.drawn
	s.erase()
	s.buf.WriteString(strings.ReplaceAll(text, "\n", "\r\n"))
	if len(f.Rows) > 0 {
		s.put(f)
	}
	s.write(s.take())
}

// Clear empties the terminal; the frame is drawn at its top.
func (s *Screen) Clear() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.write("\x1b[H\x1b[2J")
	s.drawn = Frame{}
}

// erase goes to the first row of the frame and erases from there on.
func (s *Screen) erase() {
	if len(s.drawn.Rows) == 0 {
		return
	}
	if up := s.above(); up > 0 {
		fmt.Fprintf(&s.buf, "\r\x1b[%dA\x1b[J", up)
	} else {
		s.buf.WriteString("\r\x1b[J")
	}
}

// above is how many rows of the frame are above the cursor's. A terminal that became narrower may have wrapped them anew:
// then too few are erased, which leaves a rest of the line, since too many would take what was printed before.
func (s *Screen) above() int {
	_, height := s.Size()
	return min(s.drawn.Row, height-1)
}

// put writes a frame and leaves the cursor in its place.
func (s *Screen) put(f Frame) {
	s.buf.WriteString(strings.Join(f.Rows, "\r\n"))
	if up := len(f.Rows) - 1 - f.Row; up > 0 {
		fmt.Fprintf(&s.buf, "\x1b[%dA", up)
	}
	s.buf.WriteByte('\r')
	if f.Col > 0 {
		fmt.Fprintf(&s.buf, "\x1b[%dC", f.Col)
	}
	s.drawn = f
}

func (s *Screen) take() string {
	out := s.buf.String()
	s.buf.Reset()
	return out
}
