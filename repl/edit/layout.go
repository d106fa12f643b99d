package edit

import (
	"strings"
	"unicode/utf8"
)

// layout breaks the line into rows and finds the cursor's. With room for it, the hint is the last row. When the rows are
// more than the terminal has, those around the cursor are shown.
func (e *Editor) layout(line []rune, pos int, editing bool) Frame {
	width, height := e.screen.Size()
	prompt := e.line.prompt
	if e.line.searching {
		prompt = "(search) " + e.line.query + ": "
		if e.line.missed {
			prompt = "(not found) " + e.line.query + ": "
		}
	}
	f := rows(prompt, line, pos, e.styles(string(line)), width)
	if !editing {
		return f
	}
	hint := ""
	if e.opt.Hooks.Hint != nil && !e.line.searching && len(f.Rows) < height {
		hint = e.opt.Hooks.Hint(string(line), len(string(line[:pos])))
	}
	room := height
	if hint != "" {
		room--
	}
	f = window(f, room)
	if hint != "" {
		row := Fit(strings.ReplaceAll(Clean(hint, false), "\n", " "), width-1)
		if e.opt.Colour {
			row = "\x1b[2m" + row + "\x1b[0m"
		}
		f.Rows = append(f.Rows, row)
	}
	return f
}

func (e *Editor) styles(line string) []Style {
	if !e.opt.Colour || e.opt.Hooks.Styles == nil {
		return nil
	}
	return e.opt.Hooks.Styles(line)
}

// window cuts a frame to a number of rows around the cursor.
func window(f Frame, height int) Frame {
	if len(f.Rows) <= height {
		return f
	}
	from := min(max(f.Row-height/2, 0), len(f.Rows)-height)
	return Frame{Rows: f.Rows[from : from+height], Row: f.Row - from, Col: f.Col}
}

// rows breaks a line at \n and at the width. Rows after a \n are indented as far as the prompt is wide, or by two where
// the prompt is wide itself.
func rows(prompt string, line []rune, pos int, styles []Style, width int) Frame {
	prompt = Fit(prompt, width-2)
	indent := Width(prompt)
	if indent > width/4 {
		indent = 2
	}
	var f Frame
	var b strings.Builder
	b.WriteString(prompt)
	col, offset, on := Width(prompt), 0, ""
	end := func() {
		if on != "" {
			b.WriteString("\x1b[0m")
			on = ""
		}
		f.Rows = append(f.Rows, b.String())
		b.Reset()
	}
	for i, r := range line {
		shown, cells := r, Cells(r)
		if r < ' ' && r != '\n' {
			shown, cells = '\u2423', 1
		}
		if col+cells > width {
			end()
			col = 0
		}
		if i == pos {
			f.Row, f.Col = len(f.Rows), col
		}
		if r == '\n' {
			end()
			b.WriteString(strings.Repeat(" ", indent))
			col = indent
			offset++
			continue
		}
		for len(styles) > 0 && styles[0].End <= offset {
			styles = styles[1:]
		}
		want := ""
		if len(styles) > 0 && styles[0].Start <= offset {
			want = styles[0].SGR
		}
		if want != on {
			if on != "" {
				b.WriteString("\x1b[0m")
			}
			if on = want; on != "" {
				b.WriteString("\x1b[" + on + "m")
			}
		}
		b.WriteRune(shown)
		col += cells
		offset += utf8.RuneLen(r)
	}
	if col >= width { // the cursor would wait behind the edge
		end()
		col = 0
	}
	if pos >= len(line) {
		f.Row, f.Col = len(f.Rows), col
	}
	end()
	return f
}
