package simulate_test

import (
	"context"
	"strings"
	"testing"

	"github.com/slopebpf/slope/compiler"
	"github.com/slopebpf/slope/compiler/backend"
	"github.com/slopebpf/slope/lang/check"
	"github.com/slopebpf/slope/lang/source"
	"github.com/slopebpf/slope/lang/syntax"
	"github.com/slopebpf/slope/lang/types"
	"github.com/slopebpf/slope/runtime/simulate"
	"github.com/slopebpf/slope/stdlib"
)

// run runs the tests of a script.
func run(t *testing.T, script string) []*simulate.Result {
	t.Helper()
	file := source.NewFile("t.slo", script)
	tree, diags := syntax.Parse(file)
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	reg := stdlib.New()
	stand := stdlib.NewStand(reg, tree)
	obj, diags := compiler.Compile(file, compiler.Options{Universe: reg, Library: reg, Resolver: stand, Config: types.DefaultConfig(), CPUs: 1,
		Kernel: simulate.Kernel(), Backend: backend.Features{AtomicFetch: true}, VerifyIR: true})
	if obj == nil {
		t.Fatal(diags)
	}
	var out []*simulate.Result
	for _, test := range obj.Checked.Tests {
		r, err := simulate.Run(context.Background(), test, simulate.Options{Object: obj, Stage: stand, Sentence: func(*check.SLO) string { return "" }})
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, r)
	}
	return out
}

const checkout = `sli checkout[route] { unit = seconds;
  uprobe:/srv/checkout:main.(*Server).serve { start(goid); @route[goid] = str(arg0, arg1); }
  goret:/srv/checkout:main.(*Server).serve { observe(stop(goid), @route[goid]); delete(@route, goid); @ret[retval] = count(); }
}
slo fast = 99.9% of checkout <= 200ms over 7d;
slo each = 99% of checkout <= 200ms over 7d by route;
alert:fast:page { printf("page at %d\n", burnrate(fast)); }
alert:fast:ok { printf("ok\n"); }
tracepoint:tcp:tcp_retransmit_skb /burning(fast)/ { @why[pid, comm] = count(); }
interval:s:30 { @halves++; }
macro one_request(route, id) { 0 }
`

// request is a test's request that takes so long.
func request(goid, route, took string) string {
	return "fire(uprobe:/srv/checkout:main.(*Server).serve, goid = " + goid + ", arg0 = \"" + route + "\", arg1 = 4); wait(" + took +
		"); fire(goret:/srv/checkout:main.(*Server).serve, goid = " + goid + ", retval = 0);"
}

// TestPass has tests that pass: each line is one.
func TestPass(t *testing.T) {
	for name, body := range map[string]string{
		"at":        `fire(uprobe:/srv/checkout:main.(*Server).serve, goid = 1, at = 1s); fire(goret:/srv/checkout:main.(*Server).serve, goid = 1, at = 1250ms); assert(bad(fast) == 1 && good(fast) == 0); assert(sum(checkout) == 250ms);`,
		"threshold": request("1", "/pay", "200ms") + request("2", "/pay", "200000001ns") + `assert(bad(fast) == 1 && total(fast) == 2);`,
		"groups":    request("1", "/pay", "1s") + request("2", "/get", "1ms") + `assert(bad(each, "/pay") == 1); assert(bad(each, "/get") == 0); assert(total(each) == 2); assert(bad(each, "/put") == 0); assert(@ret[0] == 2); assert(len(@route) == 0);`,
		"a page": "for ($i : 0..50) {" + request("$i", "/pay", "400ms") + `} assert(state(fast) == "breached"); wait(290s); assert(burning(fast) && state(fast) == "page" && budget(fast) < 0 && burnrate(fast) > 14400);
			assert(printed("page at 1000000\n")); assert(!printed("ok")); wait(5d); assert(!burning(fast)); assert(printed("ok"));`,
		"only while it burns": `fire(tracepoint:tcp:tcp_retransmit_skb, pid = 1); for ($i : 0..50) {` + request("$i", "/pay", "400ms") + `} wait(290s);
			fire(tracepoint:tcp:tcp_retransmit_skb, pid = 2, comm = "sshd"); assert(len(@why) == 1 && @why[2, "sshd"] == 1);`,
		"the clock":  `wait(29s); assert(@halves == 0); wait(1s); assert(@halves == 1); wait(1h); assert(@halves == 121);`,
		"statements": `let $x = 3; $x += 4; if ($x == 7) { $x = 1; } else if ($x == 8) { $x = 2; } else { $x = 3; } assert($x == 1); for ($i : 0..3) { $x = $x * 2; } assert($x == 8);`,
		"no data":    `assert(total(fast) == 0 || p99(checkout) < 5ms); assert(!(total(fast) > 0 && p99(checkout) < 5ms));`,
		"a window":   request("1", "/pay", "1s") + `wait(8d); assert(total(fast) == 0); assert(state(fast) == "no data");`,
	} {
		for _, r := range run(t, checkout+"test \""+name+"\" {"+body+"}") {
			if len(r.Failures) > 0 || len(r.Losses) > 0 {
				t.Errorf("%s: %s\n%s%v", name, r.Failures, r.Output, r.Losses)
			}
		}
	}
}

// TestEvents gives events of every form their values.
func TestEvents(t *testing.T) {
	for script, body := range map[string]string{
		`tracepoint:syscalls:sys_enter_{open,openat} { @[probe, comm, str(args.filename)] = count(); @n = args.flags; @missing = args.mode; }`: `fire(tracepoint:syscalls:sys_enter_open, filename = "/etc/passwd", comm = "cat", flags = -2);
			assert(@["tracepoint:syscalls:sys_enter_open", "cat", "/etc/passwd"] == 1); assert(@n == -2); assert(@missing == 0);`,
		`t:sched:* { @[probe] = count(); }`:                                        `fire(t:sched:a); fire(tracepoint:sched:b); fire(tracepoint:sched:b); assert(@["tracepoint:sched:b"] == 2); assert(len(@) == 2);`,
		`rawtracepoint:x { @ = arg1 + args.extra; }`:                               `fire(rt:x, arg1 = 5, extra = 6); assert(@ == 11);`,
		`rawtracepoint:y { @ = arg1; }`:                                            `fire(rt:y, arg1 = (3 << 20 | 0x1234) & 0x30ffff ^ 1); assert(@ == 0x301235 && @ >> 20 == 3);`,
		`uprobe:./bin:f { @ = arg0 * 10 + arg5; @s = str(arg1); }`:                 `fire(u:./bin:f, arg0 = 1, arg1 = "text", arg5 = 2); assert(@ == 12); assert(@s == "text");`,
		`profile:hz:99 { @[comm] = count(); } software:faults:1 { @f = count(); }`: `fire(profile:hz:99, comm = "a"); fire(software:faults:1); assert(@["a"] == 1 && @f == 1);`,
		`tracepoint:a:b { @ = count(); @n++; } tracepoint:a:c { zero(@); zero(@n); print(@); print(@n); } tracepoint:a:d { clear(@); print(@); }`: `fire(tracepoint:a:b); fire(tracepoint:a:c); assert(printed("@: 0\n@n: 0\n")); fire(tracepoint:a:b); fire(tracepoint:a:d); assert(!printed("@: 1\n"));`,
		`uprobe:./bin:f, uprobe:./bin:g { @ = count(); }`:              `fire(u:./bin:g); assert(@ == 1);`,
		`uretprobe:./bin:f { @[retval] = count(); }`:                   `fire(uretprobe:./bin:f, retval = 7); assert(@[7] == 1);`,
		`kprobe:f { @[arg2] = count(); } kretprobe:f { @r = retval; }`: `fire(k:f, arg2 = 9); fire(kr:f, retval = -1); assert(@[9] == 1); assert(@r == 18446744073709551615);`,
		`fentry:f { @ = args.mode; } fexit:f { @r = retval; }`:         `fire(fentry:f, mode = 3); fire(fexit:f, retval = 4); assert(@ == 3 && @r == 4);`,
		`tracepoint:a:b { @[pid, tid, uid, gid, cpu] = count(); @t = nsecs; } begin { @began = nsecs; }`: `fire(tracepoint:a:b); fire(tracepoint:a:b, pid = 1, uid = 2, gid = 3, cpu = 4); fire(tracepoint:a:b, pid = 1, tid = 5, at = 3s);
			assert(@[1000, 1000, 1000, 1000, 0] == 1); assert(@[1, 1, 2, 3, 4] == 1); assert(@[1, 5, 1000, 1000, 0] == 1); assert(@t - @began == 3s);`,
		`tracepoint:a:b { @[cgroup, numaid] = count(); @j = jiffies; } begin { @began = jiffies; }`:                `fire(tracepoint:a:b); fire(tracepoint:a:b, cgroup = 77, at = 3s); assert(@[1, 0] == 1 && @[77, 0] == 1); assert(@j - @began == 750 && @j == 900750);`,
		`tracepoint:a:b { exit(); @ = 1; } tracepoint:a:c { @++; } end { printf("%d\n", @); }`:                     `fire(tracepoint:a:c); fire(tracepoint:a:b); fire(tracepoint:a:c); assert(@ == 1);`,
		`tracepoint:a:b { @ = hist(args.x); @d = dist(args.x); } tracepoint:a:c { clear(@); zero(@d); print(1); }`: `for ($i : 0..100) { fire(tracepoint:a:b, x = $i * 1000); } assert(count(@) == 100 && p50(@d) > 45000 && p50(@d) < 55000); fire(tracepoint:a:c); assert(count(@) == 0 && count(@d) == 0); assert(printed("1\n"));`,
	} {
		for _, r := range run(t, script+" test \"t\" {"+body+"}") {
			if len(r.Failures) > 0 || len(r.Losses) > 0 {
				t.Errorf("%s: %s\n%v", script, r.Failures, r.Losses)
			}
		}
	}
}

// TestFail has tests that fail, with what they say.
func TestFail(t *testing.T) {
	for body, want := range map[string]string{
		`assert(bad(fast) == 1);`:                                             "t.slo:12:19-33: ERROR: assertion failed: bad(fast) (0) == 1",
		`assert(bad(fats) == 1);`:                                             "there is no slo 'fats'; did you mean 'fast'?",
		`assert(bad(each, "/pay", 2) == 1);`:                                  "bad() got 2 labels, want none or the 1 that each is kept by",
		`assert(bad(1) == 1);`:                                                "bad() got '1', want an slo",
		`assert(@halfs == 1);`:                                                "there is no map '@halfs'; did you mean '@halves'?",
		`assert((1 << (3 / 2)) == 2);`:                                        "'<<' wants whole numbers of up to 53 bits",
		`assert("x");`:                                                        "got 'x', want a condition",
		`assert(rate(@ret) > 1);`:                                             "rate() is only measured at the prompt",
		`assert(printed(1));`:                                                 "printed() wants a text",
		`assert($nothing == 1);`:                                              "variable $nothing has no value here",
		`assert((1 == 2) || @halves == 3);`:                                   "assertion failed: 1 == 2 || @halves (0) == 3",
		`assert(p99(checkout) != 5ms);`:                                       "assertion failed, because there is no data: p99(checkout) (no data) != 5ms",
		`assert(!(p99(checkout) > 5ms));`:                                     "assertion failed, because there is no data: !(p99(checkout) > 5ms)",
		`assert(!p99(checkout));`:                                             "assertion failed, because there is no data: !p99(checkout)",
		`assert(1 == 1 && -max(checkout) != 1);`:                              "assertion failed, because there is no data: 1 == 1 && -max(checkout) (no data) != 1",
		`if (p99(checkout) > 5ms) { }`:                                        "t.slo:12:16-35: ERROR: got 'no data', want a number",
		`for ($i : 0..max(checkout)) { }`:                                     "got 'no data', want a number",
		`fire(tracepoint:tcp:tcp_retransmit_sbk);`:                            "the script has no probe tracepoint:tcp:tcp_retransmit_sbk",
		`fire(tracepoint:tcp:tcp_retransmit_skb, cmm = 1);`:                   "tracepoint:tcp:tcp_retransmit_skb has no 'cmm', and nothing reads it",
		`fire(goret:/srv/checkout:main.(*Server).serve, goid = 1, arg0 = 2);`: "has no 'arg0'",
		`fire(interval:s:30);`:                                                "interval:s:30 cannot be fired: begin, end, interval",
		`wait(1s); fire(tracepoint:tcp:tcp_retransmit_skb, at = 500ms);`:      "got 500ms, and the clock is at 1s already",
		`fire(tracepoint:tcp:tcp_retransmit_skb, comm = 1);`:                  "comm got a number, want a text",
		`fire(tracepoint:tcp:tcp_retransmit_skb, pid = "abc");`:               "t.slo:12:58-63: ERROR: pid got a text, want a number",
		`fire(tracepoint:tcp:tcp_retransmit_skb, cpu = "0");`:                 "cpu got a text, want a number",
		`fire(tracepoint:tcp:tcp_retransmit_skb, at = "1s");`:                 "at got no number, want a time",
		`fire(tracepoint:tcp:tcp_retransmit_skb, pid = @ret);`:                "want a number or a text",
		`wait(0 - 1s);`:                                                       "want how long to wait",
		`for ($i : 0..3) { fire(uprobe:/srv/checkout:main.(*Server).serve, goid = $i, arg0 = 5, arg1 = 3); }`: "",
	} {
		r := run(t, checkout+"test \"t\" { "+body+" }")[0]
		if want == "" { // nothing is wrong with the test, but str() had nothing to read
			if len(r.Failures) > 0 || len(r.Losses) != 1 || r.Losses[0].N != 3 {
				t.Errorf("%s: %s, lost %v", body, r.Failures, r.Losses)
			}
			continue
		}
		if !strings.Contains(r.Failures.Error(), want) {
			t.Errorf("%s: got\n%s\nwant %s", body, r.Failures, want)
		}
	}
}

// TestRuns has waits in which interval probes would run too often, at once and all together, and one that is just short enough.
func TestRuns(t *testing.T) {
	for body, want := range map[string]string{
		`wait(30d);`:                       "t.slo:1:57-66: ERROR: interval probes would have run 2592000000 times by then, want at most 5000000 in a test",
		`fire(tracepoint:a:b, at = 30d);`:  "interval probes would have run 2592000000 times by then",
		`wait(1s); wait(5000s);`:           "t.slo:1:67-78: ERROR: interval probes would have run 5001000 times by then",
		`fire(tracepoint:a:b); wait(30d);`: "", // after exit() there are none
	} {
		r := run(t, `interval:ms:1 { } tracepoint:a:b { exit(); } test "t" { `+body+` }`)[0]
		if got := r.Failures.Error(); want == "" && len(r.Failures) > 0 || !strings.Contains(got, want) {
			t.Errorf("%s: got\n%s\nwant %s", body, got, want)
		}
	}
}

// TestLacks has programs that read what a test does not have.
func TestLacks(t *testing.T) {
	for script, want := range map[string]string{
		`tracepoint:a:b { @ = curtask; } test "t" { fire(tracepoint:a:b); }`:      "t.slo:1:44-64: ERROR: the probe at t.slo:1:1-15 reads the current task, which a test does not have",
		`tracepoint:a:b { @[comm(5)] = 1; } test "t" { fire(tracepoint:a:b); }`:   "reads the name of another process, which a test does not have",
		`uretprobe:./bin:f { @[func] = count(); } test "t" { fire(ur:./bin:f); }`: "the probe at t.slo:1:1-18 reads the address of its function, which a test does not have",
	} {
		if r := run(t, script)[0]; !strings.Contains(r.Failures.Error(), want) {
			t.Errorf("%s: got\n%s\nwant %s", script, r.Failures, want)
		}
	}
}

// TestSame runs a test twice.
func TestSame(t *testing.T) {
	script := `tracepoint:a:b { printf("%d %d %s\n", nsecs, rand, comm); time("%H:%M:%S\n"); } test "t" { for ($i : 0..9) { fire(tracepoint:a:b); wait(1s); } }`
	a, b := run(t, script)[0], run(t, script)[0]
	if a.Output != b.Output || strings.Count(strings.TrimSpace(a.Output), "\n") != 17 || a.Fired != 9 {
		t.Errorf("%d events:\n%s\n%s", a.Fired, a.Output, b.Output)
	}
}
