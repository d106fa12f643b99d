package export

import (
	"encoding/hex"
	"testing"
	"time"

	"github.com/slopebpf/slope/lang/types"
)

// fakeNames knows one function, one user and one cgroup.
type fakeNames struct{}

func (fakeNames) Symbol(user bool, addr, pid uint64) string {
	switch {
	case !user && addr == 0xffffffff81000000:
		return "vfs_read"
	case user && addr == 0x401000 && pid == 42:
		return "main"
	}
	return ""
}

func (fakeNames) User(id uint64) string {
	if id == 0 {
		return "root"
	}
	return ""
}

func (fakeNames) Cgroup(id uint64, filter string) string { return filter + ":/x" }

func (fakeNames) Boot() time.Time { return time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC) }

func (fakeNames) TAI() time.Duration { return 37 * time.Second }

func TestLate(t *testing.T) {
	inet := func(family int64, addr string) []byte {
		b, err := hex.DecodeString(addr)
		if err != nil {
			t.Fatal(err)
		}
		return append(ints(family), append(b, make([]byte, 16-len(b))...)...)
	}
	kernel, user := types.LateOf(types.KernelSymbol, ""), types.LateOf(types.UserSymbol, "")
	address := types.LateOf(types.Inet, "")
	now := types.LateOf(types.Timestamp, "%H:%M:%S.%f")
	for _, c := range []struct {
		t        *types.Type
		raw      []byte
		text     string
		nameless string // without Names
	}{
		{t: kernel, raw: ints(-0x7f000000), text: "vfs_read", nameless: "0xffffffff81000000"},
		{t: kernel, raw: ints(1), text: "0x1", nameless: "0x1"},
		{t: kernel, raw: ints(0), text: "0", nameless: "0"},
		{t: user, raw: ints(0x401000, 42), text: "main", nameless: "0x401000"},
		{t: user, raw: ints(0x401000, 43), text: "0x401000", nameless: "0x401000"},
		{t: address, raw: inet(2, "7f000001"), text: "127.0.0.1", nameless: "127.0.0.1"},
		{t: address, raw: inet(10, "00000000000000000000000000000001"), text: "::1", nameless: "::1"},
		{t: address, raw: inet(10, "00000000000000000000ffff01020304"), text: "::ffff:1.2.3.4", nameless: "::ffff:1.2.3.4"},
		{t: address, raw: inet(10, "00000000000000000000000001020304"), text: "::1.2.3.4", nameless: "::1.2.3.4"},
		{t: address, raw: inet(10, "20010db8000000000000000000000001"), text: "2001:db8::1", nameless: "2001:db8::1"},
		{t: address, raw: inet(7, "01"), text: "", nameless: ""},
		{t: types.LateOf(types.MACAddress, ""), raw: []byte{0, 0x1a, 0x2b, 0xff, 4, 5, 0, 0}, text: "00:1A:2B:FF:04:05", nameless: "00:1A:2B:FF:04:05"},
		{t: types.LateOf(types.UserName, ""), raw: ints(0), text: "root", nameless: "0"},
		{t: types.LateOf(types.UserName, ""), raw: ints(12345), text: "", nameless: "12345"},
		{t: types.LateOf(types.CgroupPath, "unified"), raw: ints(1), text: "unified:/x", nameless: "1"},
		{t: now, raw: ints(int64(time.Hour + 1500*time.Microsecond)), text: "01:00:00.001500", nameless: "3600001500000"},
	} {
		v := Values{Names: fakeNames{}}
		if got := string(v.AppendText(nil, c.t, c.raw)); got != c.text {
			t.Errorf("%s %x: got %q, want %q", c.t, c.raw, got, c.text)
		}
		if got, want := string(v.AppendJSON(nil, c.t, c.raw)), `"`+c.text+`"`; got != want {
			t.Errorf("%s %x: got %s, want %s", c.t, c.raw, got, want)
		}
		if got := string(Values{}.AppendText(nil, c.t, c.raw)); got != c.nameless {
			t.Errorf("%s %x without names: got %q, want %q", c.t, c.raw, got, c.nameless)
		}
	}
}
