package cli

import (
	"os"
	"strings"
	"testing"
)

// TestNamedArgsTested tests scripts that read arguments by name, of programs that are not there: what the script reads decides what
// they are.
func TestNamedArgsTested(t *testing.T) {
	text := `
uprobe:./nosuch:main.handle /args.n > 3/ {
	@[args.name, args.req.path, args.req->head.size] = count(); @str[str(args.name)] = count(); @raw = arg1; print(args);
	if (args.name == "bob") { @bob = count(); }
}
goret:./nosuch:main.handle { @r[args.err, args.r0, retval, goid] = count(); }
uretprobe:./c:find { @id = retval->id; @same = args.retval->id; @text = retval->text; }
uretprobe:./c:size { @number = retval; }
uprobe:./c:one { @one = args.n->name; @both[args.n->name] = count(); }
uprobe:./c:two { @two[args.n] = count(); }
u:./c:th* { @three = args.n; }
uprobe:./c:thr{ee,ow} { @more[args.m, probe] = count(); }
test "named" {
	fire(uprobe:./nosuch:main.handle, n = 5, name = "bob", req = (path = "/x", head = (size = 7)), arg1 = 9);
	fire(uprobe:./nosuch:main.handle, n = 2, name = "eve");
	fire(goret:./nosuch:main.handle, err = 4, r0 = 6, retval = 11, goid = 8);
	fire(uretprobe:./c:find, retval = (id = 33, text = "t"));
	fire(uretprobe:./c:size, retval = 12);
	fire(uprobe:./c:one, n = (name = "x")); fire(uprobe:./c:two, n = "text"); fire(uprobe:./c:throw, m = "t"); fire(uprobe:./c:three, n = 5, m = "m");
	assert(@one == "x" && @two["text"] == 1 && @three == 5 && @more["m", "uprobe:./c:three"] == 1);
	assert(@["bob", "/x", 7] == 1 && @str["bob"] == 1 && @raw == 9 && @bob == 1);
	assert(@r[4, 6, 11, 8] == 1); assert(@id == 33); assert(@same == 33); assert(@text == "t"); assert(@number == 12);
}`
	run := func(text string) result {
		file := t.TempDir() + "/script.slo"
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return slope(t, "test", file)
	}
	if r := run(text); r.status != 0 {
		t.Errorf("status %d\n%s%s", r.status, r.out, r.err)
	}
	for change, want := range map[string]string{
		"n = 5/m = 5":                            "has no 'm'; did you mean 'n'?",
		"(size = 7)/(sise = 7)":                  "nothing reads a field 'sise'",
		`name = "eve"/name = 4`:                  "'name' got no text, and one elsewhere",
		`(id = 33, text = "t")/(id = 33, x = 1)`: "nothing reads a field 'x'",
	} {
		old, changed, _ := strings.Cut(change, "/")
		if r := run(strings.Replace(text, old, changed, 1)); r.status == 0 || !strings.Contains(r.out+r.err, want) {
			t.Errorf("%s: want %q, got status %d\n%s%s", change, want, r.status, r.out, r.err)
		}
	}
	cut := run(`config = { max_strlen = 16 }
uprobe:./c:take { @[args.s] = count(); }
test "cut" { fire(uprobe:./c:take, s = "0123456789abcdefghij"); fire(uprobe:./c:take, s = "0123456789abcde"); assert(@["0123456789abcde"] == 2); }`)
	if !strings.Contains(cut.out+cut.err, "WARNING: 1 strings cut at their capacity") {
		t.Errorf("status %d\n%s%s", cut.status, cut.out, cut.err)
	}
}
