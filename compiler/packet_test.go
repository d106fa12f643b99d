package compiler_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/slopebpf/slope/compiler"
	"github.com/slopebpf/slope/compiler/backend"
	"github.com/slopebpf/slope/compiler/interp"
	"github.com/slopebpf/slope/compiler/ir"
)

// packets are a world with a packet at each of some addresses of the kernel.
type packets struct {
	*world
	memory map[uint64][]byte
}

func (p packets) Read(addr uint64, buf []byte, kernel bool) bool {
	for at, b := range p.memory {
		if i := addr - at; kernel && i < uint64(len(b)) && i+uint64(len(buf)) <= uint64(len(b)) {
			copy(buf, b[i:])
			return true
		}
	}
	return false
}

// TestPacket interprets skboutput. The kernel runs it in TestPackets of package cli.
func TestPacket(t *testing.T) {
	const script = `struct sk_buff { unsigned int len; unsigned int data_len; unsigned long data; };
		config = { max_strlen = 16 }
		rawtracepoint:f { skboutput("f.pcap", (struct sk_buff *)args.a, args.b, args.u); }`
	const skb, data = 0xffff888000001000, 0xffff888000002000
	packet := []byte("0123456789abcdefghij")
	w := packets{someWorld(), map[uint64][]byte{data: packet}}
	header := func(length, paged uint32) []byte {
		return le.AppendUint64(le.AppendUint32(le.AppendUint32(nil, length), paged), data)
	}
	w.memory[skb] = header(10, 0)
	w.memory[skb+0x100] = header(20, 0)
	w.memory[skb+0x200] = header(20, 15) // five bytes are in one piece
	w.memory[skb+0x400] = le.AppendUint64(header(30, 0)[:8], data+0x1000)
	for _, c := range []struct {
		skb, length, offset uint64
		want                string
		lost                string
	}{
		{skb, 10, 0, `10 "0123456789"`, ""},
		{skb, 4, 0, `10 "0123"`, ""},
		{skb, 100, 4, `6 "456789"`, ""},
		{skb, 100, 10, `0 ""`, ""},
		{skb, 100, 1 << 40, `0 ""`, ""},
		{skb + 0x100, 20, 0, `20 "0123456789abcdef"`, "packet_cut"},
		{skb + 0x200, 20, 0, `20 "01234"`, "packet_cut"},
		{skb + 0x200, 5, 0, `20 "01234"`, ""},
		{skb + 0x200, 20, 3, `17 "34"`, "packet_cut"},
		{skb + 0x200, 20, 7, `13 ""`, "packet_cut"},
		{skb + 0x300, 20, 0, "", "packet_fault"}, // nothing is there
		{skb + 0x400, 20, 0, "", "packet_fault"}, // nor where it points to
		{skb + 0x400, 20, 30, `0 ""`, ""},        // of which nothing is wanted
	} {
		plain, obj := twoWays(t, script, options(backend.Features{}, false, -1))
		for _, p := range []*compiler.Object{plain, obj} {
			m := interp.New(p.IR, w, 1)
			if _, err := m.Run(p.IR.Funcs[0], append([]uint64{c.skb, c.length, c.offset}, make([]uint64, 9)...)); err != nil {
				t.Fatal(err)
			}
			got := ""
			for _, record := range m.Drain() {
				ev, r := p.IR.Events[0], record.Data
				kept := r[ev.Args[2].Offset+8:][:le.Uint64(r[ev.Args[2].Offset:])]
				got += fmt.Sprintf("%d %q", le.Uint64(r[ev.Args[1].Offset:]), kept)
				if rest := r[ev.Args[2].Offset+8+len(kept):]; len(bytes.Trim(rest, "\x00")) > 0 {
					t.Errorf("after the packet is %q", rest)
				}
			}
			if got != c.want {
				t.Errorf("%d bytes from %d of %#x: got %s, want %s", c.length, c.offset, c.skb, got, c.want)
			}
			var lost []string
			for _, n := range p.IR.Counters {
				if le.Uint64(m.Map(p.IR.Health).Value("\x00\x00\x00\x00", 0)[8*n.ID:]) > 0 && n.Loss != ir.LossRingFull {
					lost = append(lost, n.Loss.String())
				}
			}
			if got := strings.Join(lost, " "); got != c.lost {
				t.Errorf("%d bytes from %d of %#x: lost %q, want %q", c.length, c.offset, c.skb, got, c.lost)
			}
		}
	}
}
