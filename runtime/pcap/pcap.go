// Package pcap writes packets as tcpdump and Wireshark read them: a file header, then for each packet its time, how long it was, and
// the bytes that were kept of it. Times have nanoseconds. The packets begin with their IP header (LINKTYPE_RAW).
//
// The form is that of https://www.ietf.org/archive/id/draft-ietf-opsawg-pcap-03.html. This package knows nothing of what packets
// hold. Start at New.
package pcap

import (
	"encoding/binary"
	"io"
	"time"
)

const (
	magic     = 0xa1b23c4d // of times with nanoseconds
	major     = 2
	minor     = 4
	mostBytes = 1 << 18 // of a packet, as tcpdump has it
	linkRaw   = 101
)

// Writer writes packets. Every packet is one write, so that a file is whole at any time.
type Writer struct {
	out io.Writer
	buf []byte
}

// New writes the header of a file.
func New(out io.Writer) (*Writer, error) {
	le := binary.LittleEndian
	b := le.AppendUint32(nil, magic)
	b = le.AppendUint16(b, major)
	b = le.AppendUint16(b, minor)
	b = le.AppendUint64(b, 0) // reserved
	b = le.AppendUint32(b, mostBytes)
	b = le.AppendUint32(b, linkRaw)
	_, err := out.Write(b)
	return &Writer{out: out}, err
}

// Packet writes one packet of so many bytes, of which the first are in data.
func (w *Writer) Packet(at time.Time, length int, data []byte) error {
	le := binary.LittleEndian
	b := le.AppendUint32(w.buf[:0], uint32(at.Unix()))
	b = le.AppendUint32(b, uint32(at.Nanosecond()))
	b = le.AppendUint32(b, uint32(len(data)))
	b = le.AppendUint32(b, uint32(max(length, len(data))))
	w.buf = append(b, data...)
	_, err := w.out.Write(w.buf)
	return err
}
