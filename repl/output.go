package repl

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/slopebpf/slope/runtime/export"
)

// Output takes what programs print and hands on whole lines, a batch at a time: every batch makes the terminal draw the
// prompt anew. Lines come in bursts of up to burst and otherwise at rate; the others are counted and told of.
type Output struct {
	mu     sync.Mutex
	to     func(text string) // nil: nothing is shown any more
	clean  func(line string) string
	rest   []byte // of a line without its end
	lines  []string
	tokens float64
	filled time.Time
	held   uint64 // since the last batch
	timer  bool

	total, heldTotal uint64
}

const (
	burst    = 1000
	rate     = 200 // lines a second
	batch    = 50 * time.Millisecond
	maxWidth = 64 << 10 // bytes of a line without an end
)

// NewOutput makes an output; clean makes a line fit to be shown.
func NewOutput(clean func(line string) string) *Output {
	return &Output{clean: clean, tokens: burst, filled: time.Now()}
}

// Attach says where lines go, nil for nowhere.
func (o *Output) Attach(to func(text string)) {
	o.mu.Lock()
	lines, held := o.take()
	old := o.to
	o.to = to
	o.mu.Unlock()
	show(old, lines, held)
}

// Held is how many lines came, and how many of them were not shown.
func (o *Output) Held() (total, held uint64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.total, o.heldTotal
}

// Write implements io.Writer. It never blocks on the terminal.
func (o *Output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.rest = append(o.rest, p...)
	for {
		i := bytes.IndexByte(o.rest, '\n')
		if i < 0 && len(o.rest) < maxWidth {
			break
		}
		end := i + 1
		if i < 0 {
			i, end = len(o.rest), len(o.rest)
		}
		o.line(o.rest[:i])
		o.rest = o.rest[end:]
	}
	if len(o.rest) == 0 {
		o.rest = nil
	}
	if (len(o.lines) > 0 || o.held > 0) && !o.timer {
		o.timer = true
		time.AfterFunc(batch, o.flush)
	}
	return len(p), nil
}

// line takes one line, if there is a token for it.
func (o *Output) line(text []byte) {
	o.total++
	now := time.Now()
	o.tokens = min(o.tokens+rate*now.Sub(o.filled).Seconds(), burst)
	o.filled = now
	if o.tokens < 1 {
		o.held++
		o.heldTotal++
		return
	}
	o.tokens--
	o.lines = append(o.lines, o.clean(string(text)))
}

// flush hands on what came since the last batch.
func (o *Output) flush() {
	o.mu.Lock()
	o.timer = false
	lines, held := o.take()
	to := o.to
	o.mu.Unlock()
	show(to, lines, held)
}

func (o *Output) take() (lines []string, held uint64) {
	lines, held = o.lines, o.held
	o.lines, o.held = nil, 0
	return lines, held
}

func show(to func(string), lines []string, held uint64) {
	if to == nil || len(lines) == 0 && held == 0 {
		return
	}
	var b strings.Builder
	for _, l := range lines {
		b.WriteString(l)
		b.WriteByte('\n')
	}
	if held > 0 {
		fmt.Fprintf(&b, "… %s held back\n", export.Counted(held, "line"))
	}
	to(b.String())
}
