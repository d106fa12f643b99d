package edit

import (
	"bufio"
	"context"
	"io"
	"strings"
	"sync"
	"time"
)

// Plain reads lines where nothing can be drawn: on a terminal without movement of the cursor, or when the editor has
// failed. The terminal edits the line; one that wants more is read on.
type Plain struct {
	in   *bufio.Reader
	mu   sync.Mutex
	out  io.Writer
	more func(line string) (bool, int)
}

// NewPlain makes a reader of lines.
func NewPlain(in io.Reader, out io.Writer, more func(line string) (bool, int)) *Plain {
	return &Plain{in: bufio.NewReader(in), out: out, more: more}
}

// ReadLine reads a line. A blank one ends what wants more.
func (p *Plain) ReadLine(prompt string) (string, error) {
	var text strings.Builder
	for {
		p.Print(prompt)
		line, err := p.in.ReadString('\n')
		if err != nil && (line == "" || err != io.EOF) {
			return text.String(), err
		}
		line = strings.TrimRight(line, "\r\n")
		text.WriteString(line)
		if more := false; p.more != nil && strings.TrimSpace(line) != "" {
			if more, _ = p.more(text.String()); more {
				text.WriteByte('\n')
				prompt = strings.Repeat(".", max(len(strings.TrimRight(prompt, " ")), 1)) + " "
				continue
			}
		}
		return text.String(), nil
	}
}

// Print writes text.
func (p *Plain) Print(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	io.WriteString(p.out, text)
}

// Live prints a picture at each tick until ctx ends or nothing more comes.
func (p *Plain) Live(ctx context.Context, tick <-chan time.Time, frame func(width, height int) (rows []string, more bool)) error {
	const width = 79
	for {
		rows, more := frame(width, 24)
		for _, r := range rows {
			p.Print(Fit(Strip(r), width) + "\n")
		}
		if !more {
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick:
		}
	}
}

// Close implements what Editor has.
func (p *Plain) Close() error { return nil }
