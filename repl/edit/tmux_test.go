package edit_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/slopebpf/slope/repl/ptytest"
)

func underTmux(t *testing.T, f func(*testing.T, *ptytest.Tmux)) {
	x := ptytest.StartTmux(t, 60, 14, fmt.Sprintf("%s=1 HIST= %s", childEnv, os.Args[0]))
	x.Wait(">")
	f(t, x)
}

func tmuxWrap(t *testing.T, x *ptytest.Tmux) {
	for i := range 4 {
		x.Send(fmt.Sprintf("line%d", i), "Enter")
	}
	x.Wait(`got "line3"`)
	x.Send(strings.Repeat("a", 68))
	x.Wait("\n" + strings.Repeat("a", 10))
	for range 20 {
		x.Send("", "Left")
	}
	x.Send("", "Home")
	x.Send("Z")
	s := x.Wait("> Zaaa")
	for i := range 4 {
		if !strings.Contains(s, fmt.Sprintf(`got "line%d"`, i)) {
			t.Errorf("line %d is gone:\n%s", i, s)
		}
	}
	x.WaitCursor(3, 8)
}

func tmuxWide(t *testing.T, x *ptytest.Tmux) {
	x.Send("漢字かな")
	x.Wait("> 漢字かな")
	x.WaitCursor(10, 0)
	x.Send("", "Left")
	x.WaitCursor(8, 0)
	x.Send(strings.Repeat("漢", 40))
	x.WaitCursor(28, 1)
	x.Send("", "Home")
	x.WaitCursor(2, 0)
	x.Send("", "End")
	x.Send("🎉x")
	x.Wait("🎉x")
	x.Send("", "Enter")
	s := x.Wait("got")
	if strings.Count(s, "> 漢字か漢") != 1 {
		t.Errorf("drawn more than once:\n%s", s)
	}
}
