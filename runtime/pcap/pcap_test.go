package pcap

import (
	"bytes"
	"encoding/hex"
	"errors"
	"strings"
	"testing"
	"time"
)

// TestFile compares a file of two packets with the format byte by byte.
func TestFile(t *testing.T) {
	var b bytes.Buffer
	w, err := New(&b)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range []struct {
		length int
		data   string
	}{{3, "abc"}, {1500, "x"}} {
		if err := w.Packet(time.Unix(1, 2), p.length, []byte(p.data)); err != nil {
			t.Fatal(err)
		}
	}
	want := "4d3cb2a1 0200 0400 00000000 00000000 00000400 65000000" +
		"01000000 02000000 03000000 03000000 616263" +
		"01000000 02000000 01000000 dc050000 78"
	if got := hex.EncodeToString(b.Bytes()); got != strings.ReplaceAll(want, " ", "") {
		t.Errorf("got %s, want %s", got, want)
	}
}

type full struct{ error }

func (f full) Write([]byte) (int, error) { return 0, f.error }

// TestFull: what cannot be written is told.
func TestFull(t *testing.T) {
	no := errors.New("no space")
	w, err := New(full{no})
	if err != no || w.Packet(time.Now(), 0, nil) != no {
		t.Errorf("got %v", err)
	}
}
