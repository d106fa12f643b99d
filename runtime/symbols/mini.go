package symbols

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"hash/crc64"
	"io"

	"github.com/ulikunitz/xz/lzma"
)

// The section with symbols that distributions leave in what they strip (Fedora's MiniDebugInfo): an ELF file in the xz format
// with the functions that are not among the dynamic symbols. How large it may be, and the memory that it may ask to be
// unpacked with.
const (
	miniSection = ".gnu_debugdata"
	maxMini     = 64 << 20
	maxMiniDict = 64 << 20
)

// withMini hands over the file in that section. A section that is damaged has none.
func (b *Binary) withMini(use func(*elf.File)) {
	s := b.file.Section(miniSection)
	if s == nil {
		return
	}
	raw, err := data(s)
	if err != nil {
		return
	}
	if mini, err := unpackMini(raw); err == nil {
		b.withStripped(bytes.NewReader(mini), use)
	}
}

var errMini = errors.New("damaged or unusual " + miniSection)

// The kinds of checksums of the xz format, by the low bits of its flags.
var miniChecks = map[byte]int{0: 0, 1: crc32.Size, 4: crc64.Size, 10: 32}

// unpackMini unpacks the first stream of the xz format: its header of 12 bytes, and blocks of a header, LZMA2 data, padding
// and a checksum. The library's own reader of the format would take as much memory as a file says.
func unpackMini(raw []byte) ([]byte, error) {
	const header = 12
	if len(raw) < header || string(raw[:6]) != "\xfd7zXZ\x00" {
		return nil, errMini
	}
	check := raw[7] & 0xf
	size, known := miniChecks[check]
	if !known {
		return nil, errMini
	}
	var out []byte
	for at := header; ; {
		if at >= len(raw) {
			return nil, errMini
		}
		if raw[at] == 0 { // the index follows
			return out, nil
		}
		head := 4 * (int(raw[at]) + 1)
		if at+head > len(raw) {
			return nil, errMini
		}
		dict, ok := miniDict(raw[at+1 : at+head])
		if !ok {
			return nil, errMini
		}
		from := bytes.NewReader(raw[at+head:])
		r, err := lzma.Reader2Config{DictCap: dict}.NewReader2(from)
		if err != nil {
			return nil, err
		}
		block, err := io.ReadAll(io.LimitReader(r, int64(maxMini-len(out)+1)))
		if out = append(out, block...); err != nil || len(out) > maxMini {
			return nil, errMini
		}
		at = (len(raw)-from.Len()+3)&^3 + size
		if at > len(raw) || !miniIntact(check, block, raw[at-size:at]) {
			return nil, errMini
		}
	}
}

// miniDict reads the header of a block, after its size: it must be packed by LZMA2 alone. It returns how much memory that
// asks for.
func miniDict(head []byte) (size int, ok bool) {
	flags := head[0]
	head = head[1:]
	fields := [5]uint64{} // sizes of the block, where they are given; the filter, the size of its settings, the dictionary
	for i := range fields {
		if i == 0 && flags&0x40 == 0 || i == 1 && flags&0x80 == 0 {
			continue
		}
		v, n := binary.Uvarint(head)
		if n <= 0 {
			return 0, false
		}
		fields[i], head = v, head[n:]
	}
	const lzma2 = 0x21
	if flags&3 != 0 || fields[2] != lzma2 || fields[3] != 1 || fields[4] > 39 {
		return 0, false
	}
	size = (2 | int(fields[4]&1)) << (fields[4]/2 + 11)
	return size, size <= maxMiniDict
}

// miniIntact compares a checksum, of the kinds that are used.
func miniIntact(kind byte, block, sum []byte) bool {
	le := binary.LittleEndian
	switch kind {
	case 1:
		return le.Uint32(sum) == crc32.ChecksumIEEE(block)
	case 4:
		return le.Uint64(sum) == crc64.Checksum(block, crc64.MakeTable(crc64.ECMA))
	}
	return true
}
