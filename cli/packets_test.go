package cli

import (
	"bytes"
	bin "encoding/binary"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slopebpf/slope/bpf/bpftest"
)

// kept is a packet as a file has it.
type kept struct {
	at     time.Time
	length int
	data   []byte
}

// packetsOf reads a file of packets that begin with their IP header.
func packetsOf(t *testing.T, file string) (out []kept) {
	t.Helper()
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	le := bin.LittleEndian
	if len(raw) < 24 || le.Uint32(raw) != 0xa1b23c4d || le.Uint16(raw[4:]) != 2 || le.Uint32(raw[20:]) != 101 {
		t.Fatalf("%s begins with % x", file, raw[:min(len(raw), 24)])
	}
	for raw = raw[24:]; len(raw) > 0; {
		n := int(le.Uint32(raw[8:]))
		out = append(out, kept{time.Unix(int64(le.Uint32(raw)), int64(le.Uint32(raw[4:]))), int(le.Uint32(raw[12:])), raw[16 : 16+n]})
		raw = raw[16+n:]
	}
	return out
}

// TestPackets sends datagrams through the loopback device, and compares what its receiver got with what is in the files.
func TestPackets(t *testing.T) {
	server, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	port := server.LocalAddr().(*net.UDPAddr).Port
	const count, large = 20, 3000
	sender := build(t, fmt.Sprintf(`package main

import (
	"fmt"
	"net"
	"strings"
)

func main() {
	c, err := net.Dial("udp4", "127.0.0.1:%d")
	if err != nil {
		panic(err)
	}
	for i := range %d {
		text := fmt.Sprintf("datagram %%d", i)
		if i == 7 {
			text += strings.Repeat(".", %d-len(text))
		}
		if _, err := c.Write([]byte(text)); err != nil {
			panic(err)
		}
	}
}
`, port, count, large))
	dir := t.TempDir()
	whole, payload, head := filepath.Join(dir, "whole.pcap"), filepath.Join(dir, "payload.pcap"), filepath.Join(dir, "head.pcap")
	if err := os.WriteFile(whole, []byte("of a run before"), 0o644); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	r := script(t, "-c", sender, "-e", fmt.Sprintf(`rawtracepoint:netif_receive_skb {
		$r = skboutput("%s", args.skb, args.skb.len, 0);
		skboutput("%s", args.skb, 100000, 28);
		skboutput("%s", args.skb, 20, 0);
		skboutput("%s", args.skb, 20, 1000000);
		if ($r == 0) { @n = count(); }
	}`, whole, payload, head, filepath.Join(dir, "none.pcap")))

	sent := map[string]int{} // as the receiver got them
	buf := make([]byte, 1<<16)
	for len(sent) < count {
		server.SetReadDeadline(time.Now().Add(10 * time.Second))
		n, _, err := server.ReadFrom(buf)
		if err != nil {
			t.Fatalf("received %d datagrams: %v", len(sent), err)
		}
		sent[string(buf[:n])]++
	}
	const capacity, headers = 1024, 20 + 8 // max_strlen; of IP and UDP
	want := map[string]int{}
	for text, n := range sent {
		want[text[:min(len(text), capacity-headers)]] += n
	}
	found, cut := map[string]int{}, 0
	files := [][]kept{packetsOf(t, whole), packetsOf(t, payload), packetsOf(t, head), packetsOf(t, filepath.Join(dir, "none.pcap"))}
	for i, p := range files[0] {
		to := files[1][i]
		if len(p.data) < headers || p.data[9] != 17 || int(bin.BigEndian.Uint16(p.data[22:])) != port { // other traffic
			continue
		}
		text := p.data[headers:]
		found[string(text)]++
		if p.length > len(p.data) {
			cut++
			if p.length != headers+large || len(p.data) != capacity {
				t.Errorf("%d of %d bytes are kept of the large one", len(p.data), p.length)
			}
		} else if !bytes.Equal(text, to.data) {
			t.Errorf("from byte %d on it is %q, not %q", headers, to.data, text)
		}
		if to.length != p.length-headers {
			t.Errorf("from byte %d on it has %d bytes, and %d in all", headers, to.length, p.length)
		}
		if first := files[2][i]; !bytes.Equal(first.data, p.data[:20]) || first.length != p.length {
			t.Errorf("the first 20 bytes are % x of %d", first.data, first.length)
		}
		if none := files[3][i]; len(none.data) != 0 || none.length != 0 {
			t.Errorf("beyond its end are %d bytes of %d", len(none.data), none.length)
		}
		if p.at.Before(began.Add(-time.Second)) || p.at.After(time.Now().Add(time.Second)) {
			t.Errorf("it was at %s, and the test began at %s", p.at, began)
		}
	}
	if !maps.Equal(found, want) || cut != 1 {
		t.Errorf("got %v, %d cut, want %v", found, cut, want)
	}
	if !strings.Contains(r.err+r.out, "1 packets cut: they were longer than max_strlen, or not in one piece") {
		t.Errorf("it does not tell that a packet was cut\n%s%s", r.out, r.err)
	}
	_, n, _ := strings.Cut(r.out, "@n: ")
	if all, _ := strconv.Atoi(strings.TrimSpace(strings.SplitN(n, "\n", 2)[0])); all != len(files[0]) {
		t.Errorf("%d packets were seen, %d are in the file", all, len(files[0]))
	}
}

// TestPacketFiles has files that are of no use, which is told before anything is attached; an old one of a run without packets;
// one that has two names; and one that a disk has no room for.
func TestPacketFiles(t *testing.T) {
	dir := t.TempDir()
	write := func(name string) string {
		return fmt.Sprintf(`rawtracepoint:netif_receive_skb { skboutput("%s", args.skb, args.skb.len, 0); }`, name)
	}
	fifo, held := filepath.Join(dir, "fifo"), filepath.Join(dir, "held.pcap")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	other, err := os.Create(held)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if err := unix.Flock(int(other.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		filepath.Join(dir, "no", "such.pcap"): "no such file or directory",
		fifo:                                  "no such device or address", // which the kernel says where nobody reads
		held:                                  "another process writes packets to it",
	} {
		r := slope(t, "-e", write(name), "-c", "true")
		if r.status != 1 || !strings.Contains(r.err, "ERROR: skboutput(): ") || !strings.Contains(r.err, want) || strings.Contains(r.err, "Attached") {
			t.Errorf("%s: status %d\n%s", name, r.status, r.err)
		}
	}

	old := filepath.Join(dir, "old.pcap")
	if err := os.WriteFile(old, []byte("of a run before, longer than the head of a file"), 0o600); err != nil {
		t.Fatal(err)
	}
	none := strings.Replace(write(old), "{", "/args.skb.len > 100000000/ {", 1)
	script(t, "--dry-run", "-e", none)
	if b, _ := os.ReadFile(old); !bytes.HasPrefix(b, []byte("of a run before")) {
		t.Errorf("a dry run has emptied the file: %q", b)
	}
	script(t, "-e", none, "-c", "true")
	if p := packetsOf(t, old); len(p) != 0 {
		t.Errorf("%d packets of a run without any", len(p))
	}

	server, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	sender := build(t, `package main

import (
	"net"
	"os"
)

func main() {
	c, err := net.Dial("udp4", os.Args[1])
	if err != nil {
		panic(err)
	}
	for range 20 {
		c.Write(make([]byte, 900))
	}
}
`) + " " + server.LocalAddr().String()
	two := filepath.Join(dir, "two.pcap")
	r := script(t, "-c", sender, "-e", `rawtracepoint:netif_receive_skb { @n = count(); skboutput("`+two+`", args.skb, args.skb.len, 0); skboutput("`+dir+`/./two.pcap", args.skb, 30, 0); }`)
	if p, n := packetsOf(t, two), number(t, r.out, `@n: (\d+)`); n < 20 || len(p) != 2*n {
		t.Errorf("%d packets in the file, %d were seen", len(p), n)
	}

	kept := filepath.Join(dir, "kept.pcap") // by a script that is replaced while it runs
	watched := scriptFile(t, write(kept)+` interval:s:100 { }`)
	p := trace(t, "--watch", watched)
	send := func() {
		t.Helper()
		if out, err := exec.Command(strings.Fields(sender)[0], strings.Fields(sender)[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	send()
	if err := os.WriteFile(watched, []byte(write(kept)+` interval:s:200 { }`), 0o600); err != nil {
		t.Fatal(err)
	}
	p.reloaded(t, 1)
	send()
	p.signal(t, syscall.SIGINT)
	if r := p.wait(t); r.status != 0 || len(packetsOf(t, kept)) < 40 {
		t.Errorf("status %d, %d packets of before and after\n%s", r.status, len(packetsOf(t, kept)), r.err)
	}

	disk := bpftest.FileSystem(t, "tmpfs", "size=8k")
	full := filepath.Join(disk, "full.pcap")
	if r := slope(t, "-c", sender, "-e", write(full)); r.status != 1 || !strings.Contains(r.err, "write packets: ") || !strings.Contains(r.err, "no space left") {
		t.Errorf("a full disk: status %d\n%s", r.status, r.err)
	}
	if p := packetsOf(t, full); len(p) == 0 || len(p) > 8 {
		t.Errorf("%d packets on a full disk", len(p))
	}
}

// TestUnreadablePackets has packets of which the kernel can read nothing, or not what they point to: none is written, each is counted.
// By the layout here the pointer is that to the next packet, of which there is none, and the length is a part of another pointer.
func TestUnreadablePackets(t *testing.T) {
	dir := t.TempDir()
	nowhere, nothing := filepath.Join(dir, "nowhere.pcap"), filepath.Join(dir, "nothing.pcap")
	server, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	sender := build(t, fmt.Sprintf(`package main

import "net"

func main() {
	c, err := net.Dial("udp4", %q)
	if err != nil {
		panic(err)
	}
	if _, err := c.Write([]byte("datagram")); err != nil {
		panic(err)
	}
}
`, server.LocalAddr()))
	r := script(t, "-c", sender, "-e", fmt.Sprintf(`struct sk_buff { unsigned long data; unsigned long prev; unsigned int len; unsigned int data_len; };
		rawtracepoint:netif_receive_skb { @n++; skboutput("%s", (struct sk_buff *)8, 100, 0); skboutput("%s", (struct sk_buff *)args.skb, 100, 0); }`, nowhere, nothing))
	_, n, _ := strings.Cut(r.out, "@n: ")
	if n, _, _ = strings.Cut(n, "\n"); n == "" {
		t.Fatalf("no packets\n%s%s", r.out, r.err)
	}
	if lost := n + " packets not written: the kernel's memory could not be read"; strings.Count(r.err+r.out, lost) != 2 || strings.Contains(r.err+r.out, "cut") {
		t.Errorf("want %q of both\n%s%s", lost, r.out, r.err)
	}
	if a, b := packetsOf(t, nowhere), packetsOf(t, nothing); len(a)+len(b) != 0 {
		t.Errorf("%d and %d packets are written", len(a), len(b))
	}
}
