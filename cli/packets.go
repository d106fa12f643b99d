package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slopebpf/slope/compiler/ir"
	"github.com/slopebpf/slope/lang/source"
	"github.com/slopebpf/slope/runtime/pcap"
)

// packetFiles are the files that a script writes packets to. Generations of a script share them; it is safe for concurrent use.
type packetFiles struct {
	mu     sync.Mutex
	users  int
	byName map[string]*packetFile
	byFile map[fileIdentity]*packetFile
}

type fileIdentity struct{ dev, inode uint64 }

// packetFile is one of them. It is emptied when the script is attached or the first packet comes, not before.
type packetFile struct {
	file    *os.File
	regular bool
	out     *pcap.Writer // nil until then
}

// share is the files for one user more; nil of none.
func (p *packetFiles) share() *packetFiles {
	if p == nil {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.users++
	return p
}

// openPackets opens the files of the script's own packets, so that what is wrong with them is an error before anything is
// attached.
func (r *session) openPackets() error {
	if r.packets == nil {
		r.packets = &packetFiles{users: 1, byName: map[string]*packetFile{}, byFile: map[fileIdentity]*packetFile{}}
	}
	for _, ev := range r.obj.IR.Events {
		if ev.Kind != ir.EventPacket || r.flags.dryRun {
			continue
		}
		if err := r.packets.open(ev.Format); err != nil {
			var d source.Diagnostics
			d.Errorf(r.obj.IR.Source, ev.Span, "skboutput(): %s", err)
			return errors.Join(d, r.packets.close())
		}
	}
	return nil
}

// open opens a file, which is one however many names it has.
func (p *packetFiles) open(name string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.byName[name] != nil {
		return nil
	}
	// A pipe that nobody reads is an error, not something to wait for.
	file, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|unix.O_NONBLOCK, 0o666)
	if err != nil {
		return err
	}
	info, err := file.Stat()
	if err != nil {
		file.Close()
		return err
	}
	st := info.Sys().(*syscall.Stat_t)
	id := fileIdentity{st.Dev, st.Ino}
	if f := p.byFile[id]; f != nil {
		p.byName[name] = f
		return file.Close()
	}
	f := &packetFile{file: file, regular: info.Mode().IsRegular()}
	if f.regular {
		if err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
			file.Close()
			if errors.Is(err, unix.EWOULDBLOCK) {
				err = errors.New("another process writes packets to it")
			}
			return fmt.Errorf("lock %s: %w", name, err)
		}
	}
	p.byName[name], p.byFile[id] = f, f
	return nil
}

// begin empties the files that nothing was written to so far.
func (p *packetFiles) begin() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, f := range p.byFile {
		if err := f.begin(); err != nil {
			return fmt.Errorf("write packets: %w", err)
		}
	}
	return nil
}

// write writes a packet.
func (p *packetFiles) write(name string, at time.Time, length int, data []byte) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	f := p.byName[name]
	err := f.begin()
	if err == nil {
		err = f.out.Packet(at, length, data)
	}
	if err != nil {
		return fmt.Errorf("write packets: %w", err)
	}
	return nil
}

func (f *packetFile) begin() (err error) {
	if f.out != nil {
		return nil
	}
	if f.regular {
		if err := f.file.Truncate(0); err != nil {
			return err
		}
	}
	f.out, err = pcap.New(f)
	return err
}

// patience is how long the reader of a pipe may take.
const patience = 5 * time.Second

// Write implements io.Writer. What does not fit into a file is taken away again, so that the file is whole.
func (f *packetFile) Write(b []byte) (int, error) {
	if !f.regular {
		_ = f.file.SetWriteDeadline(time.Now().Add(patience)) // terminals and the like have none
		return f.file.Write(b)
	}
	n, err := f.file.Write(b)
	if err != nil && n > 0 {
		if at, e := f.file.Seek(-int64(n), io.SeekCurrent); e == nil {
			err = errors.Join(err, f.file.Truncate(at))
		}
	}
	return n, err
}

// close closes the files once nobody uses them any more.
func (p *packetFiles) close() error {
	if p == nil {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.users--; p.users > 0 {
		return nil
	}
	var errs []error
	for _, f := range p.byFile {
		errs = append(errs, f.file.Close())
	}
	return errors.Join(errs...)
}

// Packet implements events.Host. The script ends where a packet cannot be written.
func (r *session) Packet(file string, at time.Duration, length int, data []byte) {
	if r.err == nil {
		r.keep(r.packets.write(file, r.values.Names.Boot().Add(at), length, data))
	}
}
