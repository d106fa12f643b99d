package edit

import (
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"time"
	"unicode/utf8"
)

// Keys reads a terminal and hands on runes: text, the control characters that readline handles, and marks.
//
// A goroutine reads ahead, so that waiting for a key can be given up: readline's Close would otherwise wait for one.
type Keys struct {
	src  io.Reader
	raw  chan []byte
	wake chan struct{}
	stop chan struct{}
	once sync.Once
	err  error // of src, once raw is closed

	reading sync.Mutex // guards the decoder
	dec     Decoder
	out     []byte

	mu     sync.Mutex // guards what follows
	posted []rune
	lost   error // why nothing more comes
}

// Lost is why nothing more comes, nil while it may or when the stream just ended.
func (k *Keys) Lost() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if errors.Is(k.lost, io.EOF) {
		return nil
	}
	return k.lost
}

// escapeTime is how long an escape character waits for the rest of its sequence.
const escapeTime = 40 * time.Millisecond

// NewKeys starts reading.
func NewKeys(src io.Reader) *Keys {
	k := &Keys{src: src, raw: make(chan []byte), wake: make(chan struct{}, 1), stop: make(chan struct{})}
	go k.read()
	return k
}

func (k *Keys) read() {
	defer close(k.raw)
	for {
		b := make([]byte, 4096)
		n, err := k.src.Read(b)
		if n > 0 {
			k.raw <- b[:n] // after Close too: see Rest
		}
		if err != nil {
			k.err = err
			return
		}
	}
}

// Post puts a mark into the stream.
func (k *Keys) Post(mark rune) {
	k.mu.Lock()
	if len(k.posted) == 0 || k.posted[len(k.posted)-1] != mark {
		k.posted = append(k.posted, mark)
	}
	k.mu.Unlock()
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

// Close ends the stream.
func (k *Keys) Close() error {
	k.once.Do(func() { close(k.stop) })
	return nil
}

// Rest reads what comes after Close, for whoever goes on without an editor.
func (k *Keys) Rest() io.Reader { return &rest{k: k} }

type rest struct {
	k   *Keys
	buf []byte
}

// Read implements io.Reader.
func (r *rest) Read(p []byte) (int, error) {
	if len(r.buf) == 0 {
		b, ok := <-r.k.raw
		if !ok {
			return 0, r.k.err
		}
		r.buf = b
	}
	n := copy(p, r.buf)
	r.buf = r.buf[n:]
	return n, nil
}

// Read implements io.Reader for readline.
func (k *Keys) Read(p []byte) (int, error) {
	k.reading.Lock()
	defer k.reading.Unlock()
	for len(k.out) == 0 {
		for len(k.dec.out) == 0 {
			if err := k.more(nil); err != nil {
				return 0, err
			}
		}
		n := 0
		for n < len(k.dec.out) && len(k.out) < len(p)-utf8.UTFMax {
			r := k.dec.out[n]
			k.out = utf8.AppendRune(k.out, r)
			if n++; r == enter || r == newline || r == interrupt || r == deleteOrEnd {
				break // readline may stop here, and what it has read nobody else can
			}
		}
		k.dec.out = k.dec.out[n:]
	}
	n := copy(p, k.out)
	k.out = k.out[n:]
	return n, nil
}

// Next waits for one rune while no line is being read; ok is false when ctx or the stream has ended.
func (k *Keys) Next(ctx context.Context) (r rune, ok bool) {
	k.reading.Lock()
	defer k.reading.Unlock()
	for len(k.dec.out) == 0 {
		if k.more(ctx.Done()) != nil {
			return 0, false
		}
	}
	r = k.dec.out[0]
	k.dec.out = k.dec.out[1:]
	return r, true
}

// more waits until something happened.
func (k *Keys) more(done <-chan struct{}) error {
	k.mu.Lock()
	posted := k.posted
	k.posted = nil
	k.mu.Unlock()
	if len(posted) > 0 {
		k.dec.out = append(k.dec.out, posted...)
		return nil
	}
	var late <-chan time.Time
	if k.dec.Waiting() {
		t := time.NewTimer(escapeTime)
		defer t.Stop()
		late = t.C
	}
	select { // the end first: a closed stream reads no more
	case <-k.stop:
		return io.EOF
	default:
	}
	select {
	case b, ok := <-k.raw:
		if !ok {
			k.mu.Lock()
			k.lost = k.err
			k.mu.Unlock()
			return k.err
		}
		k.dec.Feed(b)
	case <-late:
		k.dec.Late()
	case <-k.wake:
	case <-k.stop:
		return io.EOF
	case <-done:
		return context.Canceled
	}
	return nil
}

// Paste is the text of the oldest paste whose mark was handed on.
func (k *Keys) Paste() string {
	k.dec.mu.Lock()
	defer k.dec.mu.Unlock()
	if len(k.dec.pastes) == 0 {
		return ""
	}
	text := k.dec.pastes[0]
	k.dec.pastes = k.dec.pastes[1:]
	return text
}

// Decoder turns bytes into runes and marks. It holds back what may be the beginning of a sequence.
type Decoder struct {
	buf     []byte
	out     []rune
	pasting bool
	paste   strings.Builder

	mu     sync.Mutex // guards pastes
	pastes []string
}

// Take returns what was decoded.
func (d *Decoder) Take() []rune {
	out := d.out
	d.out = nil
	return out
}

// Waiting tells whether the beginning of a sequence waits for the rest. In a paste nothing is late.
func (d *Decoder) Waiting() bool { return len(d.buf) > 0 && !d.pasting }

// Late gives up waiting: an escape character alone is a key, any other beginning is dropped.
func (d *Decoder) Late() {
	if len(d.buf) > 0 && d.buf[0] == esc {
		d.out = append(d.out, markEscape)
		rest := d.buf[1:]
		d.buf = nil
		if len(rest) > 0 && rest[0] != '[' && rest[0] != 'O' {
			d.Feed(rest)
		}
		return
	}
	d.buf = nil
}

const (
	esc        = 0x1b
	pasteBegin = "\x1b[200~"
	pasteEnd   = "\x1b[201~"
	maxCSI     = 64      // bytes of a sequence
	maxPaste   = 1 << 20 // bytes of a paste
)

// Feed decodes more bytes.
func (d *Decoder) Feed(b []byte) {
	d.buf = append(d.buf, b...)
	for len(d.buf) > 0 {
		n := 0
		if d.pasting {
			n = d.pasted()
		} else {
			n = d.key()
		}
		if n == 0 {
			return
		}
		d.buf = d.buf[n:]
	}
}

// pasted takes one step in a paste; 0 waits for more.
func (d *Decoder) pasted() int {
	text := string(d.buf)
	at := strings.IndexByte(text, esc)
	switch {
	case at > 0 || at < 0:
		if at < 0 {
			at = len(text)
		}
		d.paste.WriteString(text[:min(at, max(maxPaste-d.paste.Len(), 0))])
		return at
	case strings.HasPrefix(text, pasteEnd):
		d.mu.Lock()
		d.pastes = append(d.pastes, pasteText(d.paste.String()))
		d.mu.Unlock()
		d.paste.Reset()
		d.pasting = false
		d.out = append(d.out, markPaste)
		return len(pasteEnd)
	case strings.HasPrefix(pasteEnd, text):
		return 0
	}
	return 1 // an escape of the text itself is dropped
}

// pasteText is pasted text as it goes into a line: rows end with \n, the last one with nothing, tabs are two blanks.
func pasteText(s string) string {
	s = strings.ToValidUTF8(s, "\ufffd")
	s = strings.NewReplacer("\r\n", "\n", "\r", "\n", "\t", "  ").Replace(s)
	s = strings.Map(func(r rune) rune {
		if r != '\n' && (r < ' ' || r == rubout || r >= 0x80 && r < 0xa0 || isMark(r)) {
			return -1
		}
		return r
	}, s)
	return strings.TrimRight(s, "\n")
}

// key takes one key; 0 waits for more.
func (d *Decoder) key() int {
	c := d.buf[0]
	switch {
	case c == esc:
		return d.escape()
	case c < ' ' || c == rubout:
		if passed(c) {
			d.out = append(d.out, rune(c))
		} else if m := controls(c); m != 0 {
			d.out = append(d.out, m)
		}
		return 1
	case !utf8.FullRune(d.buf):
		return 0
	}
	r, n := utf8.DecodeRune(d.buf)
	if isMark(r) || r >= 0x80 && r < 0xa0 {
		r = utf8.RuneError
	}
	d.out = append(d.out, r)
	return n
}

// escape takes one escape sequence.
func (d *Decoder) escape() int {
	s := string(d.buf)
	if len(s) == 1 {
		return 0
	}
	end := 2
	switch c := s[1]; {
	case c < ' ' && c != enter && c != newline && c != backspace: // two keys
		d.out = append(d.out, markEscape)
		return 1
	case c == '[':
		for end < len(s) && (s[end] >= 0x20 && s[end] <= 0x3f) {
			end++
		}
		if end == len(s) {
			if end > maxCSI {
				return end
			}
			return 0
		}
		if s[end] < 0x40 || s[end] > 0x7e { // broken off by something else
			return end
		}
		end++
	case c == 'O':
		if len(s) == 2 {
			return 0
		}
		end = 3
	}
	if s[:end] == pasteBegin {
		d.pasting = true
		return end
	}
	if r := sequence(s[1:end]); r != 0 {
		d.out = append(d.out, r)
	}
	return end
}
