// Package source holds source texts, positions in them, and the one diagnostic type with its one renderer.
//
// Everything else in the project speaks of places as byte offsets (Span); only the renderer turns an
// offset into a line and a column. It knows nothing of the language and imports nothing of the project.
package source

import (
	"fmt"
	"io"
	"sort"
	"strings"
)

// Span is a half-open range of byte offsets in a File.
type Span struct{ Start, End int32 }

// Join returns the smallest span that covers both.
func (s Span) Join(o Span) Span {
	if o == (Span{}) {
		return s
	}
	if s == (Span{}) {
		return o
	}
	return Span{min(s.Start, o.Start), max(s.End, o.End)}
}

// File is one source text. Name is what diagnostics show: a path, or "stdin" for -e and "-".
type File struct {
	Name string
	Text string

	lines []int32 // offset of the start of each line
}

// NewFile indexes the lines of text.
func NewFile(name, text string) *File {
	f := &File{Name: name, Text: text, lines: []int32{0}}
	for i := 0; i < len(text); i++ {
		if text[i] == '\n' {
			f.lines = append(f.lines, int32(i+1))
		}
	}
	return f
}

// Position turns a byte offset into a line and a column, both from 1, the column in bytes.
func (f *File) Position(offset int32) (line, col int) {
	offset = min(max(offset, 0), int32(len(f.Text)))
	i := sort.Search(len(f.lines), func(i int) bool { return f.lines[i] > offset }) - 1
	return i + 1, int(offset-f.lines[i]) + 1
}

// Line returns the text of a line (from 1) without its line end.
func (f *File) Line(line int) string {
	if line < 1 || line > len(f.lines) {
		return ""
	}
	end := len(f.Text)
	if line < len(f.lines) {
		end = int(f.lines[line]) - 1
	}
	return strings.TrimSuffix(f.Text[f.lines[line-1]:end], "\r")
}

// Slice returns the text under a span.
func (f *File) Slice(s Span) string { return f.Text[s.Start:s.End] }

// Place prints the position of a span as "name:line:col-col", or "name:line-line" when it covers several lines.
func (f *File) Place(s Span) string {
	line, col := f.Position(s.Start)
	endLine, endCol := f.Position(s.End)
	if endLine != line {
		return fmt.Sprintf("%s:%d-%d", f.Name, line, endLine)
	}
	return fmt.Sprintf("%s:%d:%d-%d", f.Name, line, col, max(endCol, col+1))
}

// Severity orders diagnostics; only errors stop a run.
type Severity uint8

// The severities, worst first.
const (
	Error Severity = iota
	Warning
)

func (s Severity) String() string { return [...]string{"ERROR", "WARNING"}[s] }

// Diagnostic is one finding about a script. Message follows the wording rules of CONTRIBUTING.md:
// lower case, no full stop, "got X, want Y", names quoted. AtEOF marks syntax errors that more input could cure.
type Diagnostic struct {
	Severity Severity
	File     *File
	Span     Span
	Message  string
	Hint     string
	AtEOF    bool
}

func (d Diagnostic) Error() string {
	return fmt.Sprintf("%s: %s: %s", d.File.Place(d.Span), d.Severity, d.Message)
}

// Diagnostics is a list of findings; it is an error when it holds at least one Error.
type Diagnostics []Diagnostic

// Errorf appends an error and returns it for a hint to be added.
func (ds *Diagnostics) Errorf(f *File, s Span, format string, args ...any) *Diagnostic {
	return ds.add(Diagnostic{Severity: Error, File: f, Span: s, Message: fmt.Sprintf(format, args...)})
}

// Warnf appends a warning and returns it for a hint to be added.
func (ds *Diagnostics) Warnf(f *File, s Span, format string, args ...any) *Diagnostic {
	return ds.add(Diagnostic{Severity: Warning, File: f, Span: s, Message: fmt.Sprintf(format, args...)})
}

func (ds *Diagnostics) add(d Diagnostic) *Diagnostic {
	*ds = append(*ds, d)
	return &(*ds)[len(*ds)-1]
}

// WithHint sets the hint line.
func (d *Diagnostic) WithHint(format string, args ...any) *Diagnostic {
	d.Hint = fmt.Sprintf(format, args...)
	return d
}

// HasErrors tells whether anything in the list stops the run.
func (ds Diagnostics) HasErrors() bool {
	for _, d := range ds {
		if d.Severity == Error {
			return true
		}
	}
	return false
}

// Incomplete tells whether every error is one that more input could cure; the REPL then reads on.
func (ds Diagnostics) Incomplete() bool {
	found := false
	for _, d := range ds {
		if d.Severity == Error && !d.AtEOF {
			return false
		}
		found = found || d.Severity == Error
	}
	return found
}

// Sort orders by file and place and drops exact repetitions.
func (ds Diagnostics) Sort() Diagnostics {
	sort.SliceStable(ds, func(i, j int) bool {
		if ds[i].File != ds[j].File {
			return ds[i].File.Name < ds[j].File.Name
		}
		return ds[i].Span.Start < ds[j].Span.Start
	})
	out := ds[:0]
	for i, d := range ds {
		if i == 0 || d != ds[i-1] {
			out = append(out, d)
		}
	}
	return out
}

func (ds Diagnostics) Error() string {
	var b strings.Builder
	ds.Render(&b, false)
	return strings.TrimSuffix(b.String(), "\n")
}

// Render prints every diagnostic: place, severity and message, the source line, the underline, the hint.
//
//	stdin:1:9-12: ERROR: unknown identifier 'foo'
//	BEGIN { foo }
//	        ~~~
//	HINT: …
func (ds Diagnostics) Render(w io.Writer, color bool) {
	for _, d := range ds {
		d.Render(w, color)
	}
}

// Render prints one diagnostic; colour only adds to it.
func (d Diagnostic) Render(w io.Writer, color bool) {
	on, off := "", ""
	if color {
		on, off = "\x1b[31m", "\x1b[0m"
		if d.Severity == Warning {
			on = "\x1b[33m"
		}
	}
	fmt.Fprintf(w, "%s%s: %s: %s%s\n", on, d.File.Place(d.Span), d.Severity, d.Message, off)
	line, col := d.File.Position(d.Span.Start)
	endLine, endCol := d.File.Position(d.Span.End)
	text := d.File.Line(line)
	if endLine != line {
		endCol = len(text) + 1
	}
	if text != "" || d.File.Text != "" {
		fmt.Fprintln(w, text)
		fmt.Fprintln(w, pad(text, col-1)+on+strings.Repeat("~", max(width(text, col-1, endCol-1), 1))+off)
	}
	if d.Hint != "" {
		fmt.Fprintf(w, "HINT: %s\n", d.Hint)
	}
}

// pad returns blanks as wide as the first n bytes of text, tabs kept.
func pad(text string, n int) string {
	var b strings.Builder
	for _, r := range text[:min(n, len(text))] {
		if r == '\t' {
			b.WriteByte('\t')
		} else {
			b.WriteByte(' ')
		}
	}
	return b.String()
}

// width counts the runes between two byte offsets of a line.
func width(text string, from, to int) int {
	from, to = min(from, len(text)), min(to, len(text))
	if to <= from {
		return 0
	}
	return len([]rune(text[from:to]))
}
