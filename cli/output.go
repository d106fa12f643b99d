package cli

import (
	"fmt"
	"io"
	"os"
	"sync"
)

// output is a buffered writer with the flushing that -B asks for.
type output struct {
	printing sync.Mutex // held by whoever prints: records, reports and notices come from several goroutines

	w    io.Writer
	buf  []byte
	mode string
	err  error
}

const fullBuffer = 64 << 10

// Write implements io.Writer; an error of the writer below sticks.
func (o *output) Write(p []byte) (int, error) {
	o.buf = append(o.buf, p...)
	if o.mode == "none" || len(o.buf) >= fullBuffer {
		o.flush()
	}
	return len(p), o.err
}

func (o *output) flush() {
	if len(o.buf) > 0 && o.err == nil {
		_, o.err = o.w.Write(o.buf)
	}
	o.buf = o.buf[:0]
}

// idle is called when everything that happened was written: with -B line it shows now.
func (o *output) idle() {
	if o.mode != "full" {
		o.flush()
	}
}

func (s Streams) openOutput(f *runFlags) (*output, func() error, error) {
	o := &output{w: s.Out, mode: f.buffering}
	if f.output == "" {
		return o, func() error { o.flush(); return o.err }, nil
	}
	file, err := os.Create(f.output)
	if err != nil {
		return nil, nil, fmt.Errorf("open output: %w", err)
	}
	o.w = file
	return o, func() error {
		o.flush()
		if err := file.Close(); o.err == nil {
			o.err = err
		}
		return o.err
	}, nil
}
