package unwind

import (
	"bytes"
	"errors"
	"fmt"
)

// where says where a register of the caller is.
type where struct {
	how    how
	offset int64 // from the CFA
}

type how uint8

const (
	same      how = iota // in its register
	atCFA                // in memory, at the offset from the CFA
	atFrame              // in memory, where the frame pointer points to
	undefined            // nowhere
	elsewhere            // where it is not followed
)

// state is what holds at one instruction.
type state struct {
	reg    uint64 // the CFA is this register and
	offset int64  // this many bytes,
	expr   []byte // or what this computes
	frame  where
	ra     int64 // where the return address is from the CFA on
	outer  bool  // there is none
	lost   bool  // it is where it is not followed
}

// pltExpr is what linkers write for the jumps to other files: the entry's push, from its 11th byte on, is one word more
// on the stack. The byte at pltLiteral is DW_OP_lit0 and that number.
var pltExpr = []byte{0x77, 8, 0x80, 0, 0x3f, 0x1a, 0x3b, 0x2a, 0x33, 0x24, 0x22}

const (
	pltLiteral = 6
	opLit0     = 0x30
	opBreg0    = 0x70
	opDeref    = 0x06
)

// rule is the state as a row has it.
func (s *state) rule(c *cie) Rule {
	of := func(kind Kind, cfa, saved int64) Rule {
		if r, ok := rule(kind, cfa, saved); ok {
			return r
		}
		return Rule(KindUnknown)
	}
	switch {
	case s.outer:
		return Rule(KindEnd)
	case c.signal:
		return Rule(KindSignal)
	}
	kind, cfa := KindUnknown, s.offset
	switch {
	case s.expr != nil:
		kind, cfa = expression(s.expr)
	case s.reg == regStack:
		kind = KindStack
	case s.reg == regFrame:
		kind = KindFrame
	}
	if kind == KindPLT {
		return of(kind, cfa, 0)
	}
	if kind == KindUnknown || cfa%8 != 0 || s.ra != -8 || s.lost {
		return Rule(KindUnknown)
	}
	switch s.frame.how {
	case same:
		return of(kind, cfa/8, 0)
	case atFrame:
		return of(kind, cfa/8, SavedAtFrame)
	case atCFA:
		if n := s.frame.offset / 8; s.frame.offset%8 == 0 && n != 0 && n != SavedAtFrame {
			return of(kind, cfa/8, n)
		}
	}
	return Rule(KindUnknown)
}

// expression knows two that compute a CFA.
func expression(e []byte) (Kind, int64) {
	if plt := bytes.Clone(e); len(plt) == len(pltExpr) {
		limit := int64(plt[pltLiteral]) - opLit0
		plt[pltLiteral] = pltExpr[pltLiteral]
		if bytes.Equal(plt, pltExpr) && limit >= 0 && limit < 16 {
			return KindPLT, limit
		}
	}
	r := &reader{data: e}
	if r.u8() == opBreg0+regFrame {
		n := r.sleb()
		if r.u8() == opDeref && !r.bad && r.at == len(e) {
			return KindDeref, n
		}
	}
	return KindUnknown, 0
}

// machine runs the instructions of an entry (DWARF 5, 6.4.2).
type machine struct {
	c       *cie
	now     state
	kept    []state
	at, end uint64
}

// maxKept bounds how many states are remembered at a time.
const maxKept = 64

var errInstructions = errors.New("its instructions are damaged")

// run executes all instructions to the end of the entry and calls row with every state and the address from which on it
// holds; of the common entry there are none.
func (m *machine) run(r *reader, row func(at uint64, s *state)) error {
	advance := func(to uint64) {
		if row != nil && to > m.at {
			row(m.at, &m.now)
		}
		m.at = max(m.at, to)
	}
	put := func(reg uint64, w where) {
		switch reg {
		case regFrame:
			m.now.frame = w
		case regReturn:
			m.now.outer, m.now.lost = w.how == undefined, w.how != atCFA && w.how != undefined
			m.now.ra = w.offset
		}
	}
	restore := func(reg uint64) {
		switch reg {
		case regFrame:
			m.now.frame = m.c.first.frame
		case regReturn:
			m.now.ra, m.now.outer, m.now.lost = m.c.first.ra, m.c.first.outer, m.c.first.lost
		}
	}
	block := func() []byte { return r.bytes(int(min(r.uleb(), uint64(len(r.data)+1)))) }
	for r.at < len(r.data) && !r.bad {
		op := r.u8()
		low := op & 0x3f
		switch op & 0xc0 {
		case 0x40: // advance_loc
			advance(m.at + low*m.c.code)
			continue
		case 0x80: // offset
			put(low, where{atCFA, int64(r.uleb()) * m.c.data})
			continue
		case 0xc0: // restore
			restore(low)
			continue
		}
		switch op {
		case 0x00: // nop
		case 0x01: // set_loc
			return fmt.Errorf("%w: DW_CFA_set_loc is not known", errInstructions)
		case 0x02: // advance_loc1, 2, 4
			advance(m.at + r.u8()*m.c.code)
		case 0x03:
			advance(m.at + r.u16()*m.c.code)
		case 0x04:
			advance(m.at + r.u32()*m.c.code)
		case 0x05: // offset_extended
			reg := r.uleb()
			put(reg, where{atCFA, int64(r.uleb()) * m.c.data})
		case 0x06: // restore_extended
			restore(r.uleb())
		case 0x07: // undefined
			put(r.uleb(), where{how: undefined})
		case 0x08: // same_value
			put(r.uleb(), where{how: same})
		case 0x09: // register
			reg := r.uleb()
			r.uleb()
			put(reg, where{how: elsewhere})
		case 0x0a: // remember_state
			if len(m.kept) == maxKept {
				return fmt.Errorf("%w: they keep more than %d states", errInstructions, maxKept)
			}
			m.kept = append(m.kept, m.now)
		case 0x0b: // restore_state
			if len(m.kept) == 0 {
				return fmt.Errorf("%w: they restore what they have not kept", errInstructions)
			}
			m.now = m.kept[len(m.kept)-1]
			m.kept = m.kept[:len(m.kept)-1]
		case 0x0c: // def_cfa
			m.now.reg, m.now.expr = r.uleb(), nil
			m.now.offset = int64(r.uleb())
		case 0x0d: // def_cfa_register
			m.now.reg, m.now.expr = r.uleb(), nil
		case 0x0e: // def_cfa_offset
			m.now.offset = int64(r.uleb())
		case 0x0f: // def_cfa_expression
			m.now.expr = block()
		case 0x10: // expression
			reg, e := r.uleb(), block()
			w := where{how: elsewhere}
			if bytes.Equal(e, []byte{opBreg0 + regFrame, 0}) {
				w.how = atFrame
			}
			put(reg, w)
		case 0x11: // offset_extended_sf
			reg := r.uleb()
			put(reg, where{atCFA, r.sleb() * m.c.data})
		case 0x12: // def_cfa_sf
			m.now.reg, m.now.expr = r.uleb(), nil
			m.now.offset = r.sleb() * m.c.data
		case 0x13: // def_cfa_offset_sf
			m.now.offset = r.sleb() * m.c.data
		case 0x14, 0x15: // val_offset, val_offset_sf
			reg := r.uleb()
			r.uleb()
			put(reg, where{how: elsewhere})
		case 0x16: // val_expression
			reg := r.uleb()
			block()
			put(reg, where{how: elsewhere})
		case 0x2e: // GNU_args_size
			r.uleb()
		default:
			return fmt.Errorf("%w: got the unknown one %#x", errInstructions, op)
		}
	}
	if r.bad {
		return errInstructions
	}
	advance(m.end)
	return nil
}
