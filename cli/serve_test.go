package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"github.com/slopebpf/slope/bpf"
	"github.com/slopebpf/slope/bpf/bpftest"
	"github.com/slopebpf/slope/runtime/supervisor"
)

// serving is a running serve.
type serving struct {
	*process
	url string
}

var servedAddress = regexp.MustCompile(`address"?[=:]"?(http://[0-9.:]+)`)

// serves starts it.
func serves(t *testing.T, args ...string) *serving {
	t.Helper()
	bpftest.Require(t, bpf.CheckPrivileges())
	p := start(t, command(t, append([]string{"serve", "--listen", "127.0.0.1:0"}, args...)...))
	v := &serving{process: p}
	bpftest.Eventually(t, 10*time.Second, "it serves", func() bool {
		m := servedAddress.FindStringSubmatch(p.err.String())
		if m != nil {
			v.url = m[1]
		}
		return m != nil
	})
	return v
}

// get asks for a page.
func (v *serving) get(t *testing.T, method, path string) (status int, body string) {
	t.Helper()
	req, err := http.NewRequest(method, v.url+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatalf("%v\n%s", err, v.err.String())
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// scripts is what /-/ready says.
func (v *serving) scripts(t *testing.T) (ready bool, all []supervisor.Status) {
	t.Helper()
	status, body := v.get(t, "GET", "/-/ready")
	var answer struct {
		Ready   bool
		Scripts []supervisor.Status
	}
	if err := json.Unmarshal([]byte(body), &answer); err != nil {
		t.Fatalf("%v\n%s", err, body)
	}
	if (status == 200) != answer.Ready || status != 200 && status != 503 {
		t.Errorf("status %d\n%s", status, body)
	}
	return answer.Ready, answer.Scripts
}

// is waits until the scripts are as told: "name state", a line each.
func (v *serving) is(t *testing.T, ready bool, want ...string) {
	t.Helper()
	bpftest.Eventually(t, 20*time.Second, fmt.Sprint(ready, want), func() bool {
		r, all := v.scripts(t)
		var got []string
		for _, s := range all {
			got = append(got, fmt.Sprint(s.Name, " ", s.State))
		}
		return r == ready && fmt.Sprint(got) == fmt.Sprint(want)
	})
}

// TestServe runs two scripts, one of which is wrong, then right, then wrong again: neither the other nor what it counted
// is touched.
func TestServe(t *testing.T) {
	load := startReads(t)
	text := strings.ReplaceAll(watchedScript, "COMM", load.comm)
	dir, out := t.TempDir(), t.TempDir()
	a, b := dir+"/a.slo", dir+"/b.slo"
	replaceFile(t, a, text)
	replaceFile(t, b, text+"nonsense")
	v := serves(t, dir, "--web.enable-lifecycle", "--state", out)
	v.is(t, false, "a running", "b failed")
	if status, body := v.get(t, "GET", "/-/healthy"); status != 200 || !strings.Contains(body, "b.slo:6:") {
		t.Errorf("status %d\n%s", status, body)
	}
	load.start(t)
	replaceFile(t, b, strings.ReplaceAll(text, "sli ones", "sli other")+"tracepoint:sched:such { }")
	v.told(t, "tracepoint not found: sched:such", 1)
	replaceFile(t, b, "begin { printf(\"part\"); } sli ticks { interval:ms:10 { event(1 == 1); } } interval:s:100 { @ = 1; }")
	v.is(t, true, "a running", "b running")
	if status, body := v.get(t, "POST", "/-/reload"); status != 200 {
		t.Errorf("reload: status %d\n%s", status, body)
	}
	replaceFile(t, a, text+"nonsense")
	if status, body := v.get(t, "POST", "/-/reload"); status != 500 || !strings.Contains(body, "a: "+a+":6:") {
		t.Errorf("reload of a bad text: status %d\n%s", status, body)
	}
	v.is(t, true, "a running", "b running") // the text before runs on
	for _, page := range []string{"/metrics", "/"} {
		if status, _ := v.get(t, "GET", page); status != 200 {
			t.Errorf("%s: status %d", page, status)
		}
	}
	body, _ := fetch(t, v.url+"/metrics", acceptText)
	problems, err := promlint.New(strings.NewReader(body)).Lint()
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	for _, line := range []string{`slope_script_state{script="a",state="running"} 1`, `slope_script_last_reload_successful{script="a"} 0`,
		`slope_script_last_reload_successful{script="b"} 1`, `slope_script_reloads_total{result="ok",script="b"} 2`, "slope_ready 1", "slope_scripts 2",
		`slope_sli_info{doc="",kind="ratio",script="b",sli="ticks",unit="none"} 1`} {
		if !strings.Contains(body, line+"\n") || err != nil {
			t.Errorf("%v, no %s", err, line)
		}
	}
	if t.Failed() {
		t.Log(body)
	}
	for i := range 10 {
		replaceFile(t, a, fmt.Sprintf("%s// %d\n", text, i))
		v.signal(t, syscall.SIGHUP)
		bpftest.Eventually(t, 10*time.Second, "reloaded", func() bool {
			_, all := v.scripts(t)
			return all[0].Reloads > i && all[0].Error == ""
		})
	}
	os.Remove(b)
	v.is(t, true, "a running")
	want := load.stop(t)
	v.signal(t, syscall.SIGTERM)
	r := v.wait(t)
	if n := number(t, r.out, `(?m)^a: @n: (\d+)$`); n != want {
		t.Errorf("counted %d of %d", n, want)
	}
	if n := number(t, strings.ReplaceAll(r.out, " ", ""), `a:sliones.*·(\d+)events·0lost`); n != want {
		t.Errorf("the sli counted %d of %d", n, want)
	}
	if r.status != 0 || strings.Count(r.out, "a: begin\n") != 1 || strings.Count(r.out, "a: end\n") != 1 || !strings.Contains(r.out, "b: part\n") {
		t.Errorf("status %d\n%s%s", r.status, r.out, r.err)
	}
	// The history is there again.
	replaceFile(t, b, "begin { }")
	os.Remove(b)
	v = serves(t, dir, "--state", out, "--output-dir", out, "-f", "json", "--log-format", "json")
	v.is(t, true, "a running")
	if status, body := v.get(t, "POST", "/-/reload"); status != 403 || !strings.Contains(body, "--web.enable-lifecycle") {
		t.Errorf("reload that was not allowed: status %d\n%s", status, body)
	}
	v.signal(t, syscall.SIGTERM)
	if r = v.wait(t); r.status != 0 || r.out != "" {
		t.Errorf("status %d\n%s%s", r.status, r.out, r.err)
	}
	if o := objectiveReport(t, read(t, out+"/a.json"), "good"); o.Total != uint64(want) {
		t.Errorf("after a restart: %+v, want %d events", o, want)
	}
	for _, line := range lines(r.err) {
		if !json.Valid([]byte(line)) {
			t.Errorf("no JSON: %s", line)
		}
	}
}

// TestServeFailures has scripts that fail in other ways than by their text.
func TestServeFailures(t *testing.T) {
	dir := t.TempDir()
	bin := dir + "/program"
	for name, text := range map[string]string{
		"attach": "uprobe:" + bin + ":work { @n = count(); }",
		"exits":  "begin { exit(3); }",
		"label":  "sli x[script] { interval:s:1 { good(1); } }",
		"clash1": "begin { @same = 1; } interval:s:100 { } export @same as counter;",
		"clash2": "begin { @same = 1; } interval:s:100 { } export @same as gauge;",
		"pipe":   `interval:ms:10 { printf("x\n"); }`,
	} {
		replaceFile(t, dir+"/"+name+".slo", text)
	}
	v := serves(t, dir)
	v.is(t, false, "attach failed", "clash1 running", "clash2 running", "exits ended", "label failed", "pipe running")
	for _, line := range []string{"the label 'script' is one of sli x too", `msg="the script ended by exit()" script=exits status=3`} {
		v.told(t, line, 1)
	}
	// It is tried again until it can be attached.
	if err := os.Rename(buildC(t, cTarget), bin); err != nil {
		t.Fatal(err)
	}
	v.is(t, false, "attach running", "clash1 running", "clash2 running", "exits ended", "label failed", "pipe running")
	os.Remove(dir + "/label.slo")
	v.is(t, true, "attach running", "clash1 running", "clash2 running", "exits ended", "pipe running")
	body, _ := fetch(t, v.url+"/metrics", acceptOpen)
	if !strings.Contains(body, `slope_same_total{script="clash1"} 1`) || !strings.Contains(body, `slope_same{script="clash2"} 1`) {
		t.Errorf("got\n%s", body)
	}
	v.signal(t, syscall.SIGINT)
	if r := v.wait(t); r.status != 0 || !strings.Contains(r.out, "pipe: x\n") {
		t.Errorf("status %d\n%s", r.status, r.err)
	}
}

// TestServeEnds in the middle of everything: starts, failures, reloads.
func TestServeEnds(t *testing.T) {
	dir := t.TempDir()
	name := fmt.Sprintf("serve_%d", os.Getpid())
	for i := range 4 {
		replaceFile(t, fmt.Sprint(dir, "/s", i, ".slo"), fmt.Sprintf("tracepoint:sched:sched_switch { @%s = count(); } begin { @b = %d; }", name, i))
	}
	replaceFile(t, dir+"/bad.slo", "bad")
	for i := range 6 {
		v := serves(t, dir)
		if i%2 == 1 {
			v.told(t, "script runs", 2)
			v.signal(t, syscall.SIGHUP)
		}
		if i == 5 {
			v.told(t, "script reloaded", 1)
		}
		began := time.Now()
		v.signal(t, syscall.SIGTERM)
		if r := v.wait(t); r.status != 0 || strings.Contains(r.err, `"script failed at its end" script=s`) {
			t.Errorf("status %d\n%s", r.status, r.err)
		}
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("it took %s to end", took)
		}
	}
	bpftest.Eventually(t, 5*time.Second, "the kernel frees everything", func() bool {
		maps, _, _ := kernelObjects(t, name)
		return maps == 0
	})
}

// TestServeNotifies tells systemd when everything is attached.
func TestServeNotifies(t *testing.T) {
	bpftest.Require(t, bpf.CheckPrivileges())
	addr := t.TempDir() + "/notify"
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: addr, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	cmd := command(t, "serve", "--listen", "off", write(t, "a.slo", "interval:s:100 { }"))
	cmd.Env = append(cmd.Env, "NOTIFY_SOCKET="+addr)
	p := start(t, cmd)
	conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	b := make([]byte, 100)
	n, err := conn.Read(b)
	if err != nil || string(b[:n]) != "READY=1" || !strings.Contains(p.err.String(), "script runs") {
		t.Errorf("got %q, %v\n%s", b[:n], err, p.err.String())
	}
	p.signal(t, syscall.SIGTERM)
	p.wait(t)
}
