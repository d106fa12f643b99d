package cli

import (
	"strings"
	"testing"

	"github.com/slopebpf/slope/bpf"
	"github.com/slopebpf/slope/bpf/bpftest"
	"github.com/slopebpf/slope/stdlib"
)

const httpTarget = `package main

import (
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

func main() {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	http.HandleFunc("/slow", func(w http.ResponseWriter, r *http.Request) { time.Sleep(30 * time.Millisecond) })
	http.HandleFunc("/quick", func(w http.ResponseWriter, r *http.Request) {})
	http.HandleFunc("/abort", func(w http.ResponseWriter, r *http.Request) { panic(http.ErrAbortHandler) })
	go http.Serve(l, nil)
	for range 3 {
		if r, err := http.Post("http://"+l.Addr().String()+"/abort", "text/plain", strings.NewReader("x")); err == nil {
			panic(r.Status)
		}
	}
	for range 30 {
		do(http.Get("http://" + l.Addr().String() + "/quick?x=1"))
	}
	for range 5 {
		do(http.Post("http://"+l.Addr().String()+"/slow", "text/plain", strings.NewReader("x")))
	}
}

func do(r *http.Response, err error) {
	if err != nil {
		panic(err)
	}
	io.Copy(io.Discard, r.Body)
	r.Body.Close()
}
`

// TestModuleHTTP imports go/http for a server that answers its own requests.
func TestModuleHTTP(t *testing.T) {
	bpftest.Require(t, bpf.CheckPrivileges())
	bin := build(t, httpTarget)
	file := scriptFile(t, `import "go/http" (binary = "`+bin+`"); slo fast = 99% of http <= 20ms over 30d;`)
	r := script(t, "-f", "json", "--listen", "off", "-c", bin, file)
	for _, want := range []string{`"method":"GET","path":"/quick"`, `"method":"POST","path":"/slow"`, `"bad":5,`, `"total":35,`} {
		if !strings.Contains(strings.NewReplacer(": ", ":", ", ", ",").Replace(r.out), want) {
			t.Errorf("no %s in\n%s%s", want, r.out, r.err)
		}
	}
	if strings.Contains(r.out, "/abort") {
		t.Errorf("requests whose goroutine has ended are left\n%s", r.out)
	}
}

// TestModules checks every module with parameters that are there: its text is a script of its own.
func TestModules(t *testing.T) {
	if len(stdlib.Modules()) == 0 {
		t.Error("no modules")
	}
	for _, name := range stdlib.Modules() {
		text, ok := stdlib.Module(name)
		if !ok || !strings.HasPrefix(text, "// "+name+": ") {
			t.Errorf("%s: its head does not tell what it is", name)
		}
		slope(t, "fmt", "--check", scriptFile(t, text)).is(t, name, 0, "", "")
	}
}
