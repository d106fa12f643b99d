package edit

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// History is the lines entered so far. In the file a line of several rows is one: \n is written as \n, \ as \\. Processes
// that share the file append under a lock, and each reads what was there when it began.
type History struct {
	mu      sync.Mutex
	entries []string
	path    string // "" for none
}

// historyLimit is how many entries are kept.
const historyLimit = 2000

// OpenHistory reads a file, which is made readable by its owner only. Without a path nothing is kept. When the file
// cannot be used the history works without it, and err says why.
func OpenHistory(path string) (h *History, err error) {
	h = &History{}
	if path == "" {
		return h, nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return h, fmt.Errorf("open history: %w", err)
	}
	f, err := lockedFile(path)
	if err != nil {
		return h, fmt.Errorf("open history: %w", err)
	}
	defer f.Close()
	if err := f.Chmod(0o600); err != nil {
		return h, fmt.Errorf("open history: %w", err)
	}
	h.path = path
	read := bufio.NewReader(f)
	for err == nil {
		var line string
		line, err = read.ReadString('\n')
		if text := unescape(strings.TrimSuffix(line, "\n")); strings.TrimSpace(text) != "" {
			h.entries = append(h.entries, text)
		}
	}
	if !errors.Is(err, io.EOF) {
		return h, fmt.Errorf("read history: %w", err)
	}
	if len(h.entries) <= 2*historyLimit {
		return h, nil
	}
	h.entries = h.entries[len(h.entries)-historyLimit:]
	var b strings.Builder
	for _, e := range h.entries {
		b.WriteString(escape(e) + "\n")
	}
	if err := f.Truncate(0); err != nil {
		return h, fmt.Errorf("shorten history: %w", err)
	}
	if _, err := f.WriteString(b.String()); err != nil {
		return h, fmt.Errorf("shorten history: %w", err)
	}
	return h, nil
}

// lockedFile opens the file for appending and waits for whoever writes to it.
func lockedFile(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		f.Close()
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return f, nil
}

// Add appends an entry, unless it is blank or the same as the last one.
func (h *History) Add(text string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	text = strings.TrimRight(text, " \n")
	if strings.TrimSpace(text) == "" || len(h.entries) > 0 && h.entries[len(h.entries)-1] == text {
		return nil
	}
	if h.entries = append(h.entries, text); len(h.entries) > 2*historyLimit {
		h.entries = append([]string(nil), h.entries[historyLimit:]...)
	}
	if h.path == "" {
		return nil
	}
	f, err := lockedFile(h.path)
	if err != nil {
		return fmt.Errorf("write history: %w", err)
	}
	_, err = f.WriteString(escape(text) + "\n")
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("write history: %w", err)
	}
	return nil
}

// Len is how many entries there are.
func (h *History) Len() int {
	if h == nil {
		return 0
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.entries)
}

// At is an entry, the oldest first.
func (h *History) At(i int) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	if i < 0 || i >= len(h.entries) {
		return ""
	}
	return h.entries[i]
}

func escape(s string) string {
	return strings.NewReplacer(`\`, `\\`, "\n", `\n`).Replace(s)
}

func unescape(s string) string {
	return strings.NewReplacer(`\\`, `\`, `\n`, "\n").Replace(s)
}
