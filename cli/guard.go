package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slopebpf/slope/compiler"
	"github.com/slopebpf/slope/lang/source"
	"github.com/slopebpf/slope/runtime/engine"
)

// guardCommand is the hidden first argument with which slope guards a shell: it holds the shell's maps, and prints them when
// the shell is gone without a word, whatever killed it. Its connection to the shell is descriptor 3.
const guardCommand = "__slope_guard"

// maxHeld is how many maps one message takes along: the kernel's limit of descriptors is 253.
const maxHeld = 200

// held is a message of the shell: maps by name, whose descriptors come along. The first one of a script has the descriptor of
// the text before them. Over tells that the shell ends in order.
type held struct {
	Script bool     `json:"script,omitempty"`
	Maps   []string `json:"maps,omitempty"`
	Over   bool     `json:"over,omitempty"`
}

// guarded is the argument of the guard: the process of -p, and the terminal as the shell finds it.
type guarded struct {
	Pid  int
	Mode *unix.Termios
}

// guard is the shell's side.
type guard struct {
	conn *net.UnixConn
	cmd  *exec.Cmd
}

// startGuard starts the guard of this process, which shares its terminal.
func startGuard(s Streams, f *runFlags) (*guard, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("make socket pair: %w", err)
	}
	own, theirs := os.NewFile(uintptr(fds[0]), "guard"), os.NewFile(uintptr(fds[1]), "shell")
	defer own.Close()
	defer theirs.Close()
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find own executable: %w", err)
	}
	mode, _ := unix.IoctlGetTermios(int(os.Stdin.Fd()), unix.TCGETS)
	arg, err := json.Marshal(guarded{f.pid, mode})
	if err != nil {
		return nil, fmt.Errorf("describe shell: %w", err)
	}
	g := &guard{cmd: exec.Command(self, guardCommand, string(arg))}
	g.cmd.Stdin, g.cmd.Stdout, g.cmd.Stderr = s.In, s.Out, s.Err
	g.cmd.ExtraFiles = []*os.File{theirs}
	g.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // what ends the shell's group does not end it
	conn, err := net.FileConn(own)
	if err != nil {
		return nil, fmt.Errorf("connect to guard: %w", err)
	}
	g.conn = conn.(*net.UnixConn)
	if err := g.cmd.Start(); err != nil {
		g.conn.Close()
		return nil, fmt.Errorf("start guard: %w", err)
	}
	return g, nil
}

// hold hands a generation's text and maps over. A nil guard holds nothing.
func (g *guard) hold(obj *compiler.Object, maps map[string]int) error {
	if g == nil {
		return nil
	}
	fd, err := unix.MemfdCreate("script", unix.MFD_CLOEXEC)
	if err != nil {
		return fmt.Errorf("store script: %w", err)
	}
	text := os.NewFile(uintptr(fd), "script")
	defer text.Close()
	if _, err := text.WriteString(obj.IR.Source.Text); err != nil {
		return fmt.Errorf("store script: %w", err)
	}
	var names []string
	for name := range maps {
		names = append(names, name)
	}
	slices.Sort(names)
	for first := true; first || len(names) > 0; first = false {
		part := names[:min(len(names), maxHeld)]
		names = names[len(part):]
		var fds []int
		if first {
			fds = append(fds, int(text.Fd()))
		}
		for _, name := range part {
			fds = append(fds, maps[name])
		}
		if err := g.send(held{Script: first, Maps: part}, fds); err != nil {
			return err
		}
	}
	return nil
}

func (g *guard) send(m held, fds []int) error {
	raw, err := json.Marshal(m)
	if err == nil {
		_, _, err = g.conn.WriteMsgUnix(raw, unix.UnixRights(fds...), nil)
	}
	if err != nil {
		return fmt.Errorf("hand maps to guard: %w", err)
	}
	return nil
}

// close tells the guard that all is well and waits for its end. One that is gone already has nothing to be told.
func (g *guard) close() {
	if g == nil {
		return
	}
	_ = g.send(held{Over: true}, nil)
	g.conn.Close()
	late := time.AfterFunc(time.Second, func() { _ = g.cmd.Process.Kill() })
	defer late.Stop()
	_ = g.cmd.Wait()
}

// guardMain is the guard.
func guardMain(args []string, s Streams) int {
	signal.Ignore(os.Interrupt, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGPIPE)
	file := os.NewFile(3, "shell")
	conn, err := net.FileConn(file)
	file.Close()
	shell, ok := conn.(*net.UnixConn)
	var arg guarded
	if err != nil || !ok || len(args) != 1 || json.Unmarshal([]byte(args[0]), &arg) != nil {
		fmt.Fprintf(s.Err, "slope: %s is no command\n", guardCommand)
		return 2
	}

	text, maps, over := hold(shell)
	if over || text == "" {
		return 0
	}
	if arg.Mode != nil {
		_ = unix.IoctlSetTermios(int(os.Stdin.Fd()), unix.TCSETS, arg.Mode)
	}
	var b bytes.Buffer
	b.WriteString("\r\nslope: the shell has crashed; its maps hold:\n")
	out := s
	out.Out, out.Err = &b, &b
	if err := printHeld(out, arg.Pid, text, maps); err != nil {
		fmt.Fprintf(&b, "slope: %s\n", err)
	}
	if _, err := s.Out.Write(b.Bytes()); err != nil { // the terminal is gone
		if _, err := saveMaps(func(w io.Writer) error { _, err := w.Write(b.Bytes()); return err }); err != nil {
			return 1
		}
	}
	return 0
}

// hold takes messages until the shell is gone.
func hold(shell *net.UnixConn) (text string, maps map[string]int, over bool) {
	raw, oob := make([]byte, 1<<18), make([]byte, unix.CmsgSpace(4*(maxHeld+1)))
	for {
		n, m, _, _, err := shell.ReadMsgUnix(raw, oob)
		if err != nil || n == 0 {
			return text, maps, false
		}
		var msg held
		if json.Unmarshal(raw[:n], &msg) != nil {
			continue
		}
		if msg.Over {
			return text, maps, true
		}
		var fds []int
		if all, err := unix.ParseSocketControlMessage(oob[:m]); err == nil && len(all) == 1 {
			fds, _ = unix.ParseUnixRights(&all[0])
		}
		if msg.Script && len(fds) > 0 {
			for _, old := range maps {
				unix.Close(old)
			}
			text, maps = readMemfd(fds[0]), map[string]int{}
			fds = fds[1:]
		}
		for i, name := range msg.Maps {
			if i < len(fds) {
				maps[name] = fds[i]
			}
		}
	}
}

// readMemfd reads a text from its beginning, and closes it.
func readMemfd(fd int) string {
	f := os.NewFile(uintptr(fd), "script")
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return ""
	}
	b := make([]byte, st.Size())
	n, _ := f.ReadAt(b, 0)
	return string(b[:n])
}

// printHeld prints what a script prints at its end.
func printHeld(s Streams, pid int, text string, maps map[string]int) error {
	w := newWorkshop(pid)
	defer w.close()
	o := w.options(nil, pid)
	o.Config.Unsafe = true // it has run already
	obj, diags := compiler.Compile(source.NewFile("session", text), o)
	if obj == nil {
		return diags
	}
	eng, err := engine.View(obj, maps)
	if err != nil {
		return err
	}
	defer eng.Close()
	out := &output{w: s.Out, mode: "line"}
	r := &session{streams: s, flags: &runFlags{format: "text"}, obj: obj, eng: eng, out: out, start: time.Now()}
	if err := r.setup(); err != nil {
		return err
	}
	err = r.finish()
	out.flush()
	return err
}
