package cli

import (
	"fmt"
	"io"
	"time"
)

// Attaching is shown where it takes long, and not more often than it can be read.
const (
	progressAfter = 500 * time.Millisecond
	progressEvery = 100 * time.Millisecond
)

// progress shows on a terminal how far attaching is.
type progress struct {
	to  io.Writer
	now func() time.Time

	began, shown time.Time
}

// show is told after each probe.
func (p *progress) show(done, total int) {
	now := p.now()
	if p.began.IsZero() {
		p.began = now
	}
	switch {
	case done >= total:
		p.clear()
	case now.Sub(p.began) > progressAfter && now.Sub(p.shown) >= progressEvery:
		p.shown = now
		fmt.Fprintf(p.to, "\rattaching %d of %d probes\x1b[K", done, total)
	}
}

// clear leaves an empty line.
func (p *progress) clear() {
	if p != nil && !p.shown.IsZero() {
		p.shown = time.Time{}
		fmt.Fprint(p.to, "\r\x1b[K")
	}
}
