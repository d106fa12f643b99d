package symbols

import (
	"bytes"
	"debug/elf"
	"os"
	"testing"
)

// TestMini finds a static function of a stripped program in its .gnu_debugdata, made as Fedora makes it.
func TestMini(t *testing.T) {
	bin := compile(t, "cc", "main.c", teller)
	whole, err := Open(bin)
	if err != nil {
		t.Fatal(err)
	}
	want, err := whole.Lookup("hidden")
	whole.Close()
	if err != nil {
		t.Fatal(err)
	}
	mini := bin + ".mini"
	command(t, "objcopy", "-S", "--keep-symbol=hidden", bin, mini)
	command(t, "xz", "-k", mini)
	command(t, "strip", "--strip-all", bin)
	for _, c := range []struct {
		name string
		data func(b []byte) []byte
		ok   bool
	}{
		{"whole", func(b []byte) []byte { return b }, true},
		{"cut off", func(b []byte) []byte { return b[:len(b)/2] }, false},
		{"damaged", func(b []byte) []byte { b[len(b)/2] ^= 0x55; return b }, false},
		{"empty", func([]byte) []byte { return nil }, false},
		{"of another kind", func([]byte) []byte { return []byte("not xz at all") }, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			raw, err := os.ReadFile(mini + ".xz")
			if err != nil {
				t.Fatal(err)
			}
			section, with := t.TempDir()+"/section", t.TempDir()+"/program"
			if err := os.WriteFile(section, c.data(raw), 0o600); err != nil {
				t.Fatal(err)
			}
			command(t, "objcopy", "--add-section", miniSection+"="+section, bin, with)
			b, err := Open(with)
			if err != nil {
				t.Fatal(err)
			}
			defer b.Close()
			f, err := b.Lookup("hidden")
			if (err == nil) != c.ok || c.ok && f != want {
				t.Errorf("got %+v, %v, want %+v", f, err, want)
			}
			if _, err := b.Lookup("main"); err == nil {
				t.Error("main is not stripped")
			}
		})
	}
}

// TestUnpackMini unpacks what xz packs in several ways, and nothing that asks for gigabytes.
func TestUnpackMini(t *testing.T) {
	file := t.TempDir() + "/file"
	want := bytes.Repeat([]byte("some text that repeats and 0123456789 "), 10000)
	if err := os.WriteFile(file, want, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"-0"}, {"-9"}, {"--block-size=50000"}, {"--check=crc32"}, {"--check=sha256"}, {"--check=none"}, {"-T2", "--block-size=100000"}} {
		command(t, "xz", append(args, "-kf", file)...)
		raw, err := os.ReadFile(file + ".xz")
		if err != nil {
			t.Fatal(err)
		}
		if got, err := unpackMini(raw); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%v: got %d bytes, %v", args, len(got), err)
		}
		at := bytes.Index(raw, []byte{0x21, 1}) + 2 // the size of the dictionary, after the filter
		raw[at] = 39
		if _, err := unpackMini(raw); err == nil {
			t.Errorf("%v: a dictionary of 3 GiB is no error", args)
		}
	}
}

func FuzzMini(f *testing.F) {
	f.Add([]byte("\xfd7zXZ\x00\x00\x04\xe6\xd6\xb4F\x00\x00\x00\x00\x1c\xdfD!\x1f\xb6\xf3}\x01\x00\x00\x00\x00\x04YZ"))
	f.Add([]byte("\xfd7zXZ\x00\x00\x04\xe6\xd6\xb4F\x02\x00!\x01(\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		mini, err := unpackMini(raw)
		if err != nil {
			return
		}
		b := &Binary{file: &elf.File{FileHeader: elf.FileHeader{Machine: elf.EM_X86_64, Class: elf.ELFCLASS64}}, loaded: true}
		b.withStripped(bytes.NewReader(mini), func(file *elf.File) { b.addTable(file, elf.SHT_SYMTAB) })
		_ = b.each(func([]byte, uint64, uint64) bool { return true })
	})
}
