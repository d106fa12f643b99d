package edit

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"time"

	"golang.org/x/sys/unix"
)

// Standard is the terminal that the process runs on. release ends its signals.
func Standard(in, out *os.File) (t Terminal, release func()) {
	var saved *unix.Termios
	fd := int(in.Fd())
	resize := make(chan struct{}, 1)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, unix.SIGWINCH)
	go func() {
		for range signals {
			select {
			case resize <- struct{}{}:
			default:
			}
		}
	}()
	set := func(signals bool) error {
		now, err := unix.IoctlGetTermios(fd, unix.TCGETS)
		if err != nil {
			return fmt.Errorf("read terminal mode: %w", err)
		}
		if saved == nil {
			saved = now
		}
		raw := *saved
		raw.Iflag &^= unix.IGNBRK | unix.BRKINT | unix.PARMRK | unix.ISTRIP | unix.INLCR | unix.IGNCR | unix.ICRNL | unix.IXON
		raw.Lflag &^= unix.ECHO | unix.ECHONL | unix.ICANON | unix.ISIG | unix.IEXTEN
		if signals {
			raw.Lflag |= unix.ISIG
			raw.Cc[unix.VQUIT] = 0 // none: it would end the process
		}
		raw.Cc[unix.VMIN], raw.Cc[unix.VTIME] = 1, 0
		if err := unix.IoctlSetTermios(fd, unix.TCSETS, &raw); err != nil {
			return fmt.Errorf("set terminal mode: %w", err)
		}
		return nil
	}
	t = Terminal{In: in, Out: out, Resize: resize,
		Size: func() (width, height int) {
			ws, err := unix.IoctlGetWinsize(int(out.Fd()), unix.TIOCGWINSZ)
			if err != nil {
				return 0, 0
			}
			return int(ws.Col), int(ws.Row)
		},
		MakeRaw: func() error { return set(false) },
		Idle:    func() error { return set(true) },
		Restore: func() error {
			if saved == nil {
				return nil
			}
			if err := unix.IoctlSetTermios(fd, unix.TCSETS, saved); err != nil {
				return fmt.Errorf("restore terminal mode: %w", err)
			}
			saved = nil
			return nil
		},
		Suspend: func() { unix.Kill(unix.Getpid(), unix.SIGTSTP) }, // ours only: the shell notices
	}
	return t, func() {
		signal.Stop(signals)
		close(signals)
	}
}

// Live shows a picture that is drawn anew at each tick, until a key ends it (q, Esc, Enter, Ctrl-C, Ctrl-D), ctx ends, or
// frame says that nothing more comes. The last picture stays. What is printed meanwhile appears above it.
func (e *Editor) Live(ctx context.Context, tick <-chan time.Time, frame func(width, height int) (rows []string, more bool)) error {
	if err := e.mode(e.opt.Terminal.MakeRaw); err != nil {
		return err
	}
	defer e.mode(e.opt.Terminal.Idle)
	ctx, stop := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			switch r, ok := e.keys.Next(ctx); {
			case !ok, r == 'q', r == 'Q', r == markEscape, r == enter, r == newline, r == interrupt, r == deleteOrEnd:
				stop()
				return
			}
		}
	}()
	var rows []string
	draw := func() bool {
		width, height := e.screen.Size()
		var more bool
		rows, more = frame(width, height)
		rows = rows[:min(len(rows), height-1)]
		for i := range rows {
			rows[i] = Fit(Clean(rows[i], e.opt.Colour), width-1)
		}
		if len(rows) > 0 {
			e.screen.Draw(Frame{Rows: rows, Row: len(rows) - 1})
		}
		return more
	}
	for more := draw(); more && ctx.Err() == nil; {
		select {
		case <-ctx.Done():
		case <-tick:
			more = draw()
		}
	}
	stop()
	<-ended
	e.screen.Finish(Frame{Rows: rows})
	return nil
}
