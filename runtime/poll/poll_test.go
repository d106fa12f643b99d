package poll

import (
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/slopebpf/slope/bpf/bpftest"
)

func TestMain(m *testing.M) { bpftest.Main(m) }

func TestNumber(t *testing.T) {
	const meminfo = "MemTotal:       24684096 kB\nMemFree:        23690508 kB\nHugePages_Total:       0\n"
	const snmp = "Ip: Forwarding DefaultTTL\nIp: 1 64\nTcp: RtoMin ActiveOpens RetransSegs\nTcp: 200 34 17\n"
	const psi = "some avg10=0.12 avg60=3.04 avg300=100.00 total=987654\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=3\n"
	for _, c := range []struct {
		text, key string
		scale     int64
		want      uint64
		err       string
	}{
		{meminfo, "MemFree", 1, 23690508 * 1024, ""},
		{meminfo, "HugePages_Total", 1, 0, ""},
		{meminfo, "Mem", 1, 0, "no such key: 'Mem'"},
		{snmp, "Tcp RetransSegs", 1, 17, ""},
		{snmp, "Ip DefaultTTL", 1, 64, ""},
		{snmp, "Tcp Nothing", 1, 0, "no such key"},
		{psi, "some avg10", 10_000, 1200, ""},
		{psi, "some avg300", 10_000, 1_000_000, ""},
		{psi, "full total", 1, 3, ""},
		{"0.13 0.25 0.30 1/234 999\n", "", 100, 13, ""},
		{"0.135\n", "", 100, 14, ""}, // rounded
		{"0.134\n", "", 100, 13, ""},
		{"max\n", "", 1, math.MaxInt64, ""},
		{"18446744073709551615\n", "", 1, math.MaxUint64, ""},
		{"18446744073709551615\n", "", 2, 0, "out of range"},
		{"18446744073709551616\n", "", 1, 0, "out of range"},
		{"-3\n", "", 1, 0, "out of range"},
		{"0x10\n", "", 1, 0, "not a number"},
		{"NaN\n", "", 1, 0, "not a number"},
		{"1e999999999\n", "", 1, 0, "not a number"},
		{"1e-999999999\n", "", 1, 0, ""},
		{"", "", 1, 0, "no such key"},
		{"nr_throttled 12\nnr_periods 99\n", "nr_periods", 1, 99, ""},
	} {
		got, err := Number([]byte(c.text), c.key, c.scale)
		if got != c.want || (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("Number(%q, %q, %d): got %d, %v, want %d, %q", c.text, c.key, c.scale, got, err, c.want, c.err)
		}
	}
}

func FuzzNumber(f *testing.F) {
	f.Add([]byte("Tcp: a b\nTcp: 1 2\n"), "Tcp b", int64(1))
	f.Add([]byte("some avg10=1.5 total=3"), "some avg10", int64(100))
	f.Fuzz(func(t *testing.T, text []byte, key string, scale int64) {
		Number(text, key, scale)
		ParseSeries(string(text))
		unescape(string(text))
	})
}

// TestProc compares numbers with what other tools of the kernel say.
func TestProc(t *testing.T) {
	total, err := File("/proc/meminfo", "MemTotal", 1)
	if err != nil || total < 1<<24 {
		t.Errorf("MemTotal: %d, %v", total, err)
	}
	if _, err := File("/proc/nothing", "x", 1); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}
	if _, err := os.Stat("/proc/pressure/cpu"); err == nil {
		before, err1 := Pressure("", "cpu", "some", "total")
		after, err2 := Pressure("", "cpu", "some", "total")
		if err1 != nil || err2 != nil || after < before {
			t.Errorf("pressure: %d then %d, %v, %v", before, after, err1, err2)
		}
		if _, err := Pressure("", "cpu", "some", "avg1"); !errors.Is(err, ErrNoKey) {
			t.Errorf("a field that there is not: %v", err)
		}
	}
}

// TestThrottling runs a spinner in a cgroup with a quota: what is read is what the kernel counted.
func TestThrottling(t *testing.T) {
	roots, err := Hierarchies()
	bpftest.Require(t, err)
	place, quota := "", ""
	name := fmt.Sprintf("slope-test-%d", os.Getpid())
	for _, root := range roots {
		for _, q := range []struct{ file, text string }{{"cpu.cfs_quota_us", "10000"}, {"cpu.max", "10000 100000"}} {
			dir := filepath.Join(root, name)
			if os.Mkdir(dir, 0o755) != nil {
				continue
			}
			if os.WriteFile(filepath.Join(dir, q.file), []byte(q.text), 0o644) == nil {
				place, quota = dir, q.file
				break
			}
			os.Remove(dir)
		}
		if place != "" {
			break
		}
	}
	if place == "" {
		t.Skip("no cgroup with a quota can be made here")
	}
	t.Logf("quota by %s", quota)
	spin := exec.Command("sh", "-c", "echo $$ > "+filepath.Join(place, "cgroup.procs")+" && while :; do :; done")
	if err := spin.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		spin.Process.Kill()
		spin.Wait()
		for deadline := time.Now().Add(5 * time.Second); os.Remove(place) != nil; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Errorf("%s cannot be removed", place)
				return
			}
		}
	})
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		n, err := Cgroup("/"+name, "cpu.stat", "nr_throttled")
		if err != nil {
			t.Fatal(err)
		}
		if n >= 3 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("throttled %d times in 20 s", n)
		}
	}
	spin.Process.Kill()
	spin.Wait()
	text, err := os.ReadFile(filepath.Join(place, "cpu.stat"))
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"nr_throttled", "nr_periods"} {
		got, err := Cgroup("/"+name, "cpu.stat", key)
		if err != nil || !strings.Contains("\n"+string(text), fmt.Sprintf("\n%s %d\n", key, got)) {
			t.Errorf("%s: got %d, %v, the file says\n%s", key, got, err, text)
		}
	}
	all, err := Cgroups("/slope-test-*", []string{"cpu.stat"})
	if err != nil || !slices.Contains(all, "/"+name) {
		t.Errorf("cgroups: %q, %v", all, err)
	}
	if none, err := Cgroups("/slope-test-*", []string{"cpu.stat", "no.such.file"}); err != nil || len(none) != 0 {
		t.Errorf("cgroups with a file that there is not: %q, %v", none, err)
	}
	if _, err := Cgroup("/"+name, "../cpu.stat", ""); err == nil {
		t.Error("a path is no file of a cgroup")
	}
}

func TestEndpoints(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/metrics":
			fmt.Fprint(w, "# TYPE reqs counter\nreqs{code=\"200\",path=\"/a\"} 5\nreqs{code=\"200\",path=\"/b\"} 7\nreqs{code=\"500\",path=\"/a\"} 1\n"+
				"# TYPE load gauge\nload 0.135\n# TYPE lat histogram\nlat_bucket{le=\"+Inf\"} 3\nlat_sum 1.5\nlat_count 3\nbad NaN\n")
		case "/vars":
			fmt.Fprint(w, `{"memstats": {"NumGC": 42, "frac": 0.25}, "a.b": {"c.d": 9}, "text": "x"}`)
		case "/away":
			http.Redirect(w, r, "http://192.0.2.1/metrics", http.StatusFound)
		default:
			http.NotFound(w, r)
		}
	}))
	defer srv.Close()
	prom := func(series string, scale int64) (uint64, error) { return Prometheus(srv.URL+"/metrics", series, scale) }
	vars := func(path string, scale int64) (uint64, error) { return JSON(srv.URL+"/vars", path, scale) }
	for _, c := range []struct {
		read func(string, int64) (uint64, error)
		what string
		by   int64
		want string
	}{
		{prom, "reqs", 1, "13"}, {prom, `reqs{code="200"}`, 1, "12"}, {prom, `reqs{code='200', path="/b"}`, 1, "7"},
		{prom, `reqs{code="404"}`, 1, "no such key"}, {prom, "load", 1000, "135"}, {prom, "lat_count", 1, "3"}, {prom, "lat_sum", 10, "15"},
		{prom, "bad", 1, "want a number"}, {prom, "nothing", 1, "no such key"}, {prom, "reqs{code=200}", 1, "want labels"},
		{vars, "memstats.NumGC", 1, "42"}, {vars, "memstats.frac", 100, "25"}, {vars, "a.b.c.d", 1, "9"}, {vars, "text", 1, "not a number"},
		{vars, "memstats.None", 1, "no such key"}, {vars, "memstats", 1, "not a number"},
	} {
		n, err := c.read(c.what, c.by)
		got := strconv.FormatUint(n, 10)
		if err != nil {
			got = err.Error()
		}
		if !strings.Contains(got, c.want) {
			t.Errorf("%s: got %s, want %s", c.what, got, c.want)
		}
	}
	for address, want := range map[string]string{
		"http://192.0.2.1/metrics": "want one on loopback", "https://127.0.0.1/": "want the address of an endpoint", "nonsense": "want the address",
		"http://localhost.example/": "want one on loopback",
	} {
		if err := CheckURL(address); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", address, err)
		}
	}
	if _, err := Prometheus(srv.URL+"/away", "x", 1); err == nil || !strings.Contains(err.Error(), "loopback") {
		t.Errorf("a redirect to another machine: %v", err)
	}
	if _, err := JSON(srv.URL+"/missing", "x", 1); err == nil || !strings.Contains(err.Error(), "404") {
		t.Errorf("a missing page: %v", err)
	}
}
