package tracefs

import (
	"errors"
	"os"
	"reflect"
	"slices"
	"testing"

	"github.com/slopebpf/slope/bpf/bpftest"
	"github.com/slopebpf/slope/lang/types"
)

func TestMain(m *testing.M) { bpftest.Main(m) }

func open(t testing.TB) *FS {
	t.Helper()
	fs, err := Open()
	bpftest.Require(t, err)
	t.Cleanup(func() { fs.Close() })
	return fs
}

const openat = `name: sys_enter_openat
ID: 700
format:
	field:unsigned short common_type;	offset:0;	size:2;	signed:0;
	field:int common_pid;	offset:4;	size:4;	signed:1;

	field:int __syscall_nr;	offset:8;	size:4;	signed:1;
	field:int dfd;	offset:16;	size:8;	signed:0;
	field:const char * filename;	offset:24;	size:8;	signed:0;
	field:int flags;	offset:32;	size:8;	signed:0;
	field:umode_t mode;	offset:40;	size:8;	signed:0;

print fmt: "dfd: 0x%08lx", ((unsigned long)(REC->dfd))
`

const mixed = `name: mixed
ID: 1
format:
	field:__data_loc char[] name;	offset:8;	size:4;	signed:0;
	field:char comm[TASK_COMM_LEN];	offset:12;	size:16;	signed:0;
	field:__u8 saddr[4];	offset:28;	size:4;	signed:0;
	field:const struct sock * sk;	offset:32;	size:8;	signed:0;
	field:unsigned long args[6];	offset:40;	size:48;	signed:0;
	field:enum tcp_state state;	offset:88;	size:4;	signed:0;
	field:bool ok;	offset:92;	size:1;	signed:0;
	field:__rel_loc char[] rel;	offset:96;	size:4;	signed:0;
	field:const char *const * argv;	offset:104;	size:8;	signed:0;
	field:u64 wide[2][3];	offset:112;	size:48;	signed:0;
	field:broken

print fmt: ""
`

func field(t *testing.T, f *Format, name string) types.Field {
	t.Helper()
	for _, x := range f.Fields {
		if x.Name == name {
			return x
		}
	}
	t.Fatalf("no field %s in %+v", name, f.Fields)
	return types.Field{}
}

func TestParseSyscall(t *testing.T) {
	f, err := ParseFormat(openat, "syscalls")
	if err != nil {
		t.Fatal(err)
	}
	if f.ID != 700 || f.Name != "sys_enter_openat" || f.Size != 48 || len(f.Fields) != 5 || f.Skipped != nil {
		t.Fatalf("got %+v", f)
	}
	for name, want := range map[string]*types.Type{"__syscall_nr": types.Int32, "dfd": types.Int32, "mode": types.Uint16,
		"filename": types.PointerTo(types.Int8, true)} {
		if got := field(t, f, name).Type; !got.Equal(want) {
			t.Errorf("%s: got %s, want %s", name, got, want)
		}
	}
}

func TestParseMixed(t *testing.T) {
	f, err := ParseFormat(mixed, "x")
	if err != nil {
		t.Fatal(err)
	}
	array := func(e *types.Type, n int) *types.Type {
		return &types.Type{Kind: types.Array, Elem: e, Len: n, Size: n * e.Size}
	}
	for name, want := range map[string]*types.Type{"name": array(types.Int8, 0), "comm": array(types.Int8, 16),
		"saddr": array(types.Uint8, 4), "sk": types.PointerTo(&types.Type{Kind: types.Struct, Name: "sock"}, false),
		"args": array(types.Uint64, 6), "state": {Kind: types.Int, Size: 4, Name: "tcp_state"}, "ok": types.Boolean,
		"argv": types.PointerTo(types.PointerTo(types.Int8, false), false), "wide": array(types.Uint64, 6)} {
		if got := field(t, f, name); !got.Type.Equal(want) || got.Type.Size != want.Size || got.DataLoc != (name == "name") {
			t.Errorf("%s: got %+v (%s), want %s", name, got, got.Type, want)
		}
	}
	if !slices.Equal(f.Skipped, []string{"rel", "broken"}) {
		t.Errorf("skipped: got %q", f.Skipped)
	}
	if _, err := ParseFormat("field:int x; offset:0; size:4; signed:1;", "x"); !errors.Is(err, ErrFormat) {
		t.Errorf("without an id: got %v", err)
	}
}

func TestLive(t *testing.T) {
	fs := open(t)
	f, err := fs.Format("sched", "sched_switch")
	if err != nil {
		t.Fatal(err)
	}
	if c := field(t, f, "prev_comm"); c.Type.Len != 16 || c.Type.Elem != types.Int8 || f.ID == 0 {
		t.Fatalf("got %+v", c)
	}
	if _, err := fs.Format("sched", "no_such_event"); !errors.Is(err, ErrNotFound) {
		t.Fatal(err)
	}
	if _, err := fs.Format("..", "x"); !errors.Is(err, ErrNotFound) {
		t.Fatal(err)
	}
}

// TestEveryFormat parses all formats of the running kernel: nothing may be left over but relative strings.
func TestEveryFormat(t *testing.T) {
	fs := open(t)
	systems, err := fs.Systems()
	if err != nil || !slices.Contains(systems, "syscalls") {
		t.Fatal(systems, err)
	}
	n := 0
	for _, s := range systems {
		events, err := fs.Events(s)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range events {
			f, err := fs.Format(s, e)
			if errors.Is(err, ErrNotFound) && s == "ftrace" || errors.Is(err, os.ErrNotExist) {
				continue
			}
			if err != nil {
				t.Error(err)
				continue
			}
			n++
			if len(f.Skipped) > 0 {
				t.Logf("%s:%s: skipped %q", s, e, f.Skipped)
			}
			for _, x := range f.Fields {
				if x.Type == nil || x.Type.String() == "" {
					t.Errorf("%s:%s: %s has no type", s, e, x.Name)
				}
			}
		}
	}
	t.Logf("%d formats", n)
}

func TestPrivateMount(t *testing.T) {
	fs, err := openPrivate()
	if errors.Is(err, os.ErrPermission) {
		bpftest.Require(t, err)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer fs.Close()
	if _, err := fs.Format("raw_syscalls", "sys_enter"); err != nil {
		t.Fatal(err)
	}
}

// TestFunctions reads the list of functions that can be traced: by their modules, without those that are gone.
func TestFunctions(t *testing.T) {
	got := parseFunctions("vfs_read\nip_map_parse [sunrpc]\n__ftrace_invalid_address___132 [sunrpc]\nvfs_write\ncache_init\t[sunrpc]\nodd of three\n\n")
	want := map[string][]string{"": {"vfs_read", "vfs_write"}, "sunrpc": {"ip_map_parse", "cache_init"}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	all, err := open(t).Functions()
	if errors.Is(err, ErrNotFound) || errors.Is(err, os.ErrPermission) {
		t.Logf("no list on this host: %v", err)
		return
	}
	if err != nil || !slices.Contains(all[""], "vfs_read") {
		t.Errorf("vfs_read is not among %d functions of the kernel: %v", len(all[""]), err)
	}
}

func FuzzFormat(f *testing.F) {
	f.Add(openat)
	f.Add(mixed)
	f.Fuzz(func(t *testing.T, text string) {
		for _, system := range []string{"x", "syscalls"} {
			got, err := ParseFormat(text, system)
			if err != nil {
				continue
			}
			for _, x := range got.Fields {
				if x.Type == nil || x.Type.String() == "" || x.Offset < 0 {
					t.Fatalf("%+v", x)
				}
			}
		}
	})
}
