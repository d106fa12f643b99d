package repl

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/slopebpf/slope/compiler"
	"github.com/slopebpf/slope/lang/types"
	"github.com/slopebpf/slope/repl/edit"
	"github.com/slopebpf/slope/repl/ptytest"
)

// The test binary is a shell over a machine that runs nothing when this is set.
const childEnv = "REPL_TEST_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(childEnv) == "" {
		os.Exit(m.Run())
	}
	out := NewOutput(edit.Strip)
	status, err := Run(Options{In: os.Stdin, Out: os.Stdout, Machine: panicking{newFake()}, Output: out})
	if err != nil {
		fmt.Println(err)
	}
	os.Exit(status)
}

// panicking is a machine with a fault: asking it for a certain function panics.
type panicking struct{ *fakeMachine }

func (m panicking) Func(name string) *types.Func {
	if name == "faulty" {
		panic("a fault in a row")
	}
	return m.Registry.Func(name)
}

func (m panicking) Start(obj *compiler.Object, before Program, quiet bool) (Program, Swap, error) {
	p, s, err := m.fakeMachine.Start(obj, before, quiet)
	if p != nil {
		p = talking{p}
	}
	return p, s, err
}

// talking says what it would print.
type talking struct{ Program }

func (talking) Finish(w io.Writer) error {
	_, err := io.WriteString(w, "the maps are printed\n")
	return err
}

// TestFrontEndFails: a fault while typing ends the drawing of lines and nothing else; what runs is printed at the end.
func TestFrontEndFails(t *testing.T) {
	c := exec.Command(os.Args[0])
	c.Env = append(os.Environ(), childEnv+"=1", "TERM=xterm")
	s := ptytest.Start(t, 100, 30, c)
	prompt := strings.TrimSpace(Prompt)
	s.Wait(prompt)
	s.Send("begin { @x = 1; }\r")
	s.Wait("#1 attached")
	s.Send("begin { faulty(")
	s.Wait("the line editor failed: a fault in a row; going on without it")
	s.Send("interval:s:1 { @y = 1; }\r")
	s.Wait("#2 attached")
	s.Send("faulty(@x)\r")
	s.Wait("internal error: a fault in a row")
	s.Send(":probes\r")
	s.Wait("#2 interval:s:1")
	s.Send(":quit\r")
	s.Wait("the maps are printed")
	if status := s.Exit(); status != 0 || !s.Cooked() {
		t.Errorf("status %d", status)
	}
}
