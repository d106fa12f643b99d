package bpf

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

const (
	ringHeader  = 8
	ringBusy    = 1 << 31
	ringDiscard = 1 << 30
)

// Ring reads a BPF ring buffer in place. Records are handed out as slices of the kernel's memory; the consumer
// position is published once per batch, so that reading costs no system call, no copy and no allocation.
//
// Programs may submit with BPF_RB_NO_WAKEUP: then Wait does not notice records and the caller polls with Drain.
// One goroutine drains; Wake may be called from any.
type Ring struct {
	cons, prod  *uint64
	data        []byte // the ring twice in a row
	mask        uint64
	consumer    []byte // the mappings
	producer    []byte
	epoll, wake int
	Damaged     uint64 // records that could not be decoded, and were skipped
}

// OpenRing maps a ring buffer. The map may be closed while the Ring is in use.
func OpenRing(m *ebpf.Map) (*Ring, error) {
	if m.Type() != ebpf.RingBuf {
		return nil, fmt.Errorf("open ring buffer: the map is a %s", m.Type())
	}
	page, size := os.Getpagesize(), int(m.MaxEntries())
	r := &Ring{mask: uint64(size - 1), epoll: -1, wake: -1}
	fail := func(err error) (*Ring, error) {
		r.Close()
		return nil, fmt.Errorf("open ring buffer: %w", err)
	}
	var err error
	if r.consumer, err = unix.Mmap(m.FD(), 0, page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED); err != nil {
		return fail(err)
	}
	if r.producer, err = unix.Mmap(m.FD(), int64(page), page+2*size, unix.PROT_READ, unix.MAP_SHARED); err != nil {
		return fail(err)
	}
	r.cons, r.prod = (*uint64)(unsafe.Pointer(&r.consumer[0])), (*uint64)(unsafe.Pointer(&r.producer[0]))
	r.data = r.producer[page:]
	if r.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return fail(err)
	}
	if r.wake, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		return fail(err)
	}
	for _, fd := range []int{m.FD(), r.wake} {
		if err := unix.EpollCtl(r.epoll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)}); err != nil {
			return fail(err)
		}
	}
	return r, nil
}

// Drain calls f with each record that is complete, in the order of submission, and returns their number. A record is
// valid during the call only. Under a producer that never pauses it returns after four times the ring's size.
func (r *Ring) Drain(f func(record []byte)) int {
	n, size := 0, r.mask+1
	cons := atomic.LoadUint64(r.cons)
	for limit := cons + 4*size; cons < limit; {
		prod := atomic.LoadUint64(r.prod)
		if cons == prod {
			break
		}
		next, got, damaged := decode(r.data, r.mask, cons, prod, size/8, f)
		n += got
		r.Damaged += uint64(damaged)
		if next == cons { // the record is still being written
			break
		}
		cons = next
		atomic.StoreUint64(r.cons, cons)
	}
	return n
}

// Pending tells whether there are records that Drain has not handed out, be it that they are still being written.
func (r *Ring) Pending() bool { return atomic.LoadUint64(r.cons) != atomic.LoadUint64(r.prod) }

// decode reads records between cons and prod until about batch bytes are read or a record is still being written,
// and returns the new consumer position. data is the ring of mask+1 bytes twice in a row. What contradicts itself
// (positions not multiples of 8 or too far apart, a length beyond prod) is given up to prod and counted as damaged.
// When next equals cons the next record is busy or there is none.
func decode(data []byte, mask, cons, prod, batch uint64, f func([]byte)) (next uint64, n, damaged int) {
	size := mask + 1
	if prod-cons > size || cons%8 != 0 || prod%8 != 0 {
		return prod, 0, 1
	}
	for start := cons; cons != prod && cons-start <= batch; {
		off := cons & mask
		if off+ringHeader > uint64(len(data)) {
			return prod, n, 1
		}
		word := atomic.LoadUint32((*uint32)(unsafe.Pointer(&data[off])))
		if word&ringBusy != 0 {
			break
		}
		length := uint64(word &^ (ringBusy | ringDiscard))
		step := (length + ringHeader + 7) &^ 7
		if step > prod-cons || off+ringHeader+length > uint64(len(data)) {
			return prod, n, 1
		}
		if word&ringDiscard == 0 {
			from := off + ringHeader
			f(data[from : from+length : from+length])
			n++
		}
		cons += step
	}
	return cons, n, 0
}

// Wait returns when the kernel signals records, Wake is called, or the timeout has passed; a negative one waits
// without end. It tells nothing about which: call Drain.
func (r *Ring) Wait(timeout time.Duration) error {
	deadline := time.Now().Add(timeout)
	var events [2]unix.EpollEvent
	for {
		ms := -1
		if timeout >= 0 {
			ms = int((max(0, time.Until(deadline)) + time.Millisecond - 1) / time.Millisecond)
		}
		n, err := unix.EpollWait(r.epoll, events[:], ms)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return fmt.Errorf("wait for ring buffer: %w", err)
		}
		for _, e := range events[:max(n, 0)] {
			if int(e.Fd) == r.wake {
				var count [8]byte
				unix.Read(r.wake, count[:])
			}
		}
		return nil
	}
}

// Wake ends a Wait, the present one or the next.
func (r *Ring) Wake() error {
	one := [8]byte{1}
	if _, err := unix.Write(r.wake, one[:]); err != nil && !errors.Is(err, unix.EAGAIN) {
		return fmt.Errorf("wake ring buffer reader: %w", err)
	}
	return nil
}

// Close unmaps the ring. Neither Drain nor Wait may be running.
func (r *Ring) Close() error {
	var errs []error
	for _, m := range [...]*[]byte{&r.consumer, &r.producer} {
		if *m != nil {
			errs = append(errs, unix.Munmap(*m))
			*m = nil
		}
	}
	for _, fd := range [...]*int{&r.epoll, &r.wake} {
		if *fd >= 0 {
			errs = append(errs, unix.Close(*fd))
			*fd = -1
		}
	}
	r.data = nil
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("close ring buffer: %w", err)
	}
	return nil
}
