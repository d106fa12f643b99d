package export

import (
	"net/netip"
	"strconv"
	"time"

	"github.com/slopebpf/slope/lang/types"
	"github.com/slopebpf/slope/runtime/agg"
)

// Names finds what only this machine can tell: the text of numbers that programs record.
type Names interface {
	Symbol(user bool, addr, pid uint64) string // the function at an address, of the kernel or a process; "" when unknown
	User(id uint64) string                     // "" when unknown
	Cgroup(id uint64, filter string) string    // its path in every hierarchy that the filter matches
	Boot() time.Time                           // when the boot clock was 0
	TAI() time.Duration                        // how far International Atomic Time is ahead, as this machine has it
}

// The address families of Linux.
const (
	familyInet  = 2
	familyInet6 = 10
)

// appendLate appends a value that user space makes text of.
func (v Values) appendLate(dst []byte, t *types.Type, raw []byte) []byte {
	n := agg.Number(raw)
	switch t.Late {
	case types.Inet:
		return appendInet(dst, n, raw[8:])
	case types.MACAddress:
		for i, c := range raw[:6] {
			if i > 0 {
				dst = append(dst, ':')
			}
			dst = append(dst, upperDigits[c>>4], upperDigits[c&15])
		}
		return dst
	case types.KernelSymbol, types.UserSymbol:
		pid := uint64(0)
		if t.Late == types.UserSymbol {
			pid = agg.Number(raw[8:])
		}
		if v.Names != nil {
			if name := v.Names.Symbol(t.Late == types.UserSymbol, n, pid); name != "" {
				return append(dst, name...)
			}
		}
		if n == 0 {
			return append(dst, '0')
		}
		return strconv.AppendUint(append(dst, "0x"...), n, 16)
	}
	if v.Names == nil {
		return strconv.AppendUint(dst, n, 10)
	}
	switch t.Late {
	case types.UserName:
		return append(dst, v.Names.User(n)...)
	case types.CgroupPath:
		return append(dst, v.Names.Cgroup(n, t.Text)...)
	case types.Timestamp:
		return AppendTime(dst, t.Text, v.Names.Boot().Add(time.Duration(n)))
	case types.TAITimestamp:
		return AppendTime(dst, t.Text, time.Unix(0, int64(n)).Add(-v.Names.TAI()))
	}
	panic("BUG: a late value of no kind")
}

const upperDigits = "0123456789ABCDEF"

// appendInet appends an address as inet_ntop(3) does; nothing for a family that it does not know.
func appendInet(dst []byte, family uint64, raw []byte) []byte {
	switch family {
	case familyInet:
		return netip.AddrFrom4([4]byte(raw)).AppendTo(dst)
	case familyInet6:
		a := [16]byte(raw)
		if last := [4]byte(a[12:]); [12]byte(a[:]) == [12]byte{} && last[0]|last[1] != 0 { // as the C library has it, in the form ::1.2.3.4
			return netip.AddrFrom4(last).AppendTo(append(dst, "::"...))
		}
		return netip.AddrFrom16(a).AppendTo(dst)
	}
	return dst
}
