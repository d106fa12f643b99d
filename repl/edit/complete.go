package edit

import (
	"fmt"
	"strings"
)

// listed is how many candidates a list shows at most; more would push the screen away.
const listed = 40

// complete inserts what all candidates have in common; when that is nothing more, it lists them above the prompt.
func (e *Editor) complete(line []rune, pos int) ([]rune, int) {
	l := &e.line
	if e.opt.Hooks.Complete == nil {
		return line, pos
	}
	before := string(line[:pos])
	if blank := strings.TrimLeft(before[strings.LastIndexByte(before, '\n')+1:], " ") == ""; blank && len(line) > 0 && strings.Contains(before, "\n") {
		return insert(line, pos, []rune("  ")) // at the start of a row Tab indents
	}
	c := e.opt.Hooks.Complete(string(line), len(before))
	if c.From < 0 || c.From > len(before) || len(c.List) == 0 {
		e.screen.Raw("\a")
		return line, pos
	}
	word := before[c.From:]
	common := c.List[0].Text
	for _, x := range c.List[1:] {
		common = commonPrefix(common, x.Text)
	}
	if len(c.List) == 1 && c.More == 0 || len(common) > len(word) && c.More == 0 {
		from := len([]rune(before[:c.From]))
		return insert(without(line, from, pos), from, []rune(common))
	}
	if !l.lists {
		e.screen.Above(e.list(c))
		l.lists = true
	}
	return line, pos
}

func commonPrefix(a, b string) string {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	for n > 0 && n < len(a) && a[n]&0xc0 == 0x80 { // not inside a rune
		n--
	}
	return a[:n]
}

// list lays candidates out in columns.
func (e *Editor) list(c Completion) string {
	width, height := e.screen.Size()
	most := max(min(listed, len(c.List)), 1)
	labels := make([]string, 0, most)
	widest := 0
	for _, x := range c.List[:most] {
		label := x.Label
		if label == "" {
			label = x.Text
		}
		label = Fit(Clean(label, false), width-2)
		labels = append(labels, label)
		widest = max(widest, Width(label))
	}
	columns := max((width-1)/(widest+2), 1)
	if rows := max(height-3, 1); (len(labels)+columns-1)/columns > rows {
		labels = labels[:rows*columns]
	}
	var b strings.Builder
	for i, label := range labels {
		b.WriteString(label)
		if i%columns == columns-1 || i == len(labels)-1 {
			b.WriteByte('\n')
		} else {
			b.WriteString(strings.Repeat(" ", widest+2-Width(label)))
		}
	}
	if more := c.More + len(c.List) - len(labels); more > 0 {
		fmt.Fprintf(&b, "… %d more\n", more)
	}
	return b.String()
}
