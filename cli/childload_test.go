package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/slopebpf/slope/bpf"
	"github.com/slopebpf/slope/bpf/bpftest"
)

// TestCommandLoads has a command whose library waits for a byte before the program itself begins: the run goes on meanwhile, and
// the command lives on when slope is killed.
func TestCommandLoads(t *testing.T) {
	bpftest.Require(t, bpf.CheckPrivileges())
	lib := buildC(t, `
#include <unistd.h>
int loaded(void) { return 1; }
__attribute__((constructor)) static void begin(void) { char c; read(0, &c, 1); }
`, "-shared", "-fPIC")
	if err := os.Rename(lib, filepath.Dir(lib)+"/libwaits.so"); err != nil {
		t.Fatal(err)
	}
	done := filepath.Join(t.TempDir(), "done")
	bin := buildC(t, `
#include <fcntl.h>
int loaded(void);
int main(int argc, char **argv) { return loaded() && creat(argv[1], 0600) < 0; }
`, "-L"+filepath.Dir(lib), "-Wl,-rpath,"+filepath.Dir(lib), "-lwaits")
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	c := command(t, "-q", "-c", bin+" "+done, "-e", `uprobe:`+bin+`:main { @[ustack] = count(); } interval:ms:50 { printf("tick\n"); }`)
	c.Stdin = r
	p := start(t, c)
	r.Close()
	bpftest.Eventually(t, 20*time.Second, "the run goes on", func() bool { return strings.Count(p.out.String(), "tick") > 3 })
	if err := p.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-p.done
	if _, err := w.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	bpftest.Eventually(t, 20*time.Second, "the command lives on", func() bool { _, err := os.Stat(done); return err == nil })
}
