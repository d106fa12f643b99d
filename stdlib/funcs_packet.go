package stdlib

import (
	"github.com/slopebpf/slope/compiler/ir"
	"github.com/slopebpf/slope/lang/syntax"
	"github.com/slopebpf/slope/lang/types"
)

// skbStruct is what the kernel calls a packet.
const skbStruct = "sk_buff"

// The fields of a packet that are noted, in their order: how many bytes it has, how many of them are not where data points, and that
// pointer.
var skbFields = []struct {
	name string
	size int
}{{"len", 4}, {"data_len", 4}, {"data", 8}}

// packetFuncs write packets.
func packetFuncs() []Func {
	return []Func{{
		Func: types.Func{Doc: types.Doc{Name: "skboutput", Text: "Write a packet of the kernel to a file that tcpdump and Wireshark read: length bytes of it from offset on. " +
			"The file is emptied when the script is attached, and no other process may write packets to it meanwhile; its packets begin with the IP header: where the kernel has an Ethernet header before, the offset is 14. " +
			"At most max_strlen bytes of a packet are kept, of what it has in one piece; what is cut is counted, and in the file is how long it was. One that cannot be read is not written, and counted. The value is 0.",
			Examples: []string{`rawtracepoint:netif_receive_skb { skboutput("in.pcap", args.skb, args.skb.len, 0); }`}},
			Params: []types.Param{{Name: "file", Kind: types.TextParam}, {Name: "skb", Kind: types.AddressParam}, {Name: "length", Kind: types.IntParam}, {Name: "offset", Kind: types.IntParam}},
			Check:  checkPacket, Result: func(*types.Call) *types.Type { return types.Int64 }},
		FuncLower: ir.FuncLower{Scalar: writePacket},
	}}
}

// checkPacket notes where a packet has its fields.
func checkPacket(c *types.Call) {
	t := c.Args[1]
	if t.Kind != types.Pointer || t.User || t.Elem.Kind != types.Struct || t.Elem.Name != skbStruct {
		c.Errorf(1, "skboutput() got '%s' for 'skb', want a pointer to a 'struct %s' of the kernel", t, skbStruct)
		return
	}
	c.Notes = nil
	for _, f := range skbFields {
		field, ok := t.Elem.Field(f.name)
		if !ok || field.Type.Size != f.size || field.BitSize > 0 {
			c.Errorf(1, "skboutput(): the 'struct %s' has no field '%s' of %d bytes", skbStruct, f.name, f.size)
			return
		}
		c.Notes = append(c.Notes, int64(field.Offset))
	}
	if n, ok := c.Const(3); ok && n < 0 {
		c.Errorf(3, "skboutput() got the offset %d, want at least 0", n)
	}
	if c.Text(0) == "" {
		c.Errorf(0, "skboutput() got no name of a file")
	}
}

// writePacket reads the packet as it is in the kernel, and sends when that was, how long the packet is, and its bytes; nothing where
// they cannot be read.
func writePacket(l ir.Lowering, c *syntax.Call) *ir.Value {
	b := l.Builder()
	skb, length, offset := l.Number(c.Args[1]), l.Scalar(c.Args[2]), l.Scalar(c.Args[3])
	most := l.Config().MaxStrlen
	if n, ok := l.Const(c.Args[2]); ok && n > 0 {
		most = min(most, int(n))
	}
	fields, failed := make([]*ir.Value, len(skbFields)), b.Const(0)
	for i, f := range skbFields {
		p := b.Addr(b.Slot(f.name, 8))
		failed = b.Bin(ir.OpOr, failed, b.Read(p, b.AddImm(skb, l.Notes(c)[i]), f.size, true))
		fields[i] = b.Load(p, 0, f.size, false)
	}
	unread := func() { l.Count(ir.LossPacketFault, nil) }
	l.When(failed, unread)
	beyond := func(n *ir.Value) *ir.Value { // how many of n bytes are from the offset on
		return choose(b, b.Bin(ir.OpULt, offset, n), b.Bin(ir.OpSub, n, offset), b.Const(0))
	}
	rest := beyond(fields[0])
	whole := choose(b, b.Bin(ir.OpULt, length, rest), length, rest)
	piece := beyond(b.Bin(ir.OpSub, fields[0], fields[1]))
	kept := b.Bound(choose(b, b.Bin(ir.OpULt, piece, whole), piece, whole), int64(most))
	data, now := b.Bin(ir.OpAdd, fields[2], offset), b.Help(ir.HelperKtimeBoot)
	ev := &ir.Event{Kind: ir.EventPacket, Format: c.Args[0].(*syntax.String).Value,
		Args: []ir.EventArg{{Type: types.Uint64}, {Type: types.Uint64}, {Type: types.BufferOf(most)}}}
	l.When(b.Bin(ir.OpEq, failed, b.Const(0)), func() {
		l.Record(ev, ir.NoWakeup, func(p *ir.Value) *ir.Value {
			at := ev.Args[2]
			b.Store(p, ev.Args[0].Offset, 8, now)
			b.Store(p, ev.Args[1].Offset, 8, rest)
			b.Zero(p, at.Offset, at.Type.Memory())
			b.Store(p, at.Offset, 8, kept)
			some, none, done := b.Block(), b.Block(), b.Block(ir.Scalar)
			b.If(kept, some, none)
			b.SetBlock(some)
			b.Jump(done, b.ReadN(b.Offset(p, int64(at.Offset+8)), data, kept, most, true))
			b.SetBlock(none)
			b.Jump(done, b.Const(0))
			b.SetBlock(done)
			bad := done.Params[0]
			l.When(bad, unread)
			l.When(b.Bin(ir.OpAnd, b.Bin(ir.OpEq, bad, b.Const(0)), b.Bin(ir.OpULt, kept, whole)), func() { l.Count(ir.LossPacketCut, nil) })
			return bad
		})
	})
	return b.Const(0)
}

// choose is x where cond holds, and y otherwise.
func choose(b *ir.Builder, cond, x, y *ir.Value) *ir.Value {
	yes, no, done := b.Block(), b.Block(), b.Block(ir.Scalar)
	b.If(cond, yes, no)
	b.SetBlock(yes)
	b.Jump(done, x)
	b.SetBlock(no)
	b.Jump(done, y)
	b.SetBlock(done)
	return done.Params[0]
}
