package flame

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"hash/fnv"
	"io"
	"strconv"
)

// The measures of the picture, in its own units.
const (
	width     = 1200
	rowHeight = 18
	margin    = 10
	header    = 34
	charWidth = 7
	leastWide = 0.2 // narrower calls are left out
)

// node is a call with those it makes.
type node struct {
	name  string
	count uint64
	below []*node
}

// add counts a stack from here on. Stacks come in order, so an equal call is the last one.
func (n *node) add(frames []string, count uint64) {
	n.count += count
	if len(frames) == 0 {
		return
	}
	var next *node
	if k := len(n.below); k > 0 && n.below[k-1].name == frames[0] {
		next = n.below[k-1]
	} else {
		next = &node{name: frames[0]}
		n.below = append(n.below, next)
	}
	next.add(frames[1:], count)
}

func (n *node) depth() int {
	d := 0
	for _, b := range n.below {
		d = max(d, b.depth())
	}
	return d + 1
}

// SVG draws the stacks as a flame graph, the outermost call at the bottom. Pointing at a call tells its share.
func SVG(w io.Writer, stacks []Stack, title string) error {
	root := &node{name: "all"}
	for _, s := range stacks {
		root.add(s.Frames, s.Count)
	}
	height := header + root.depth()*rowHeight + margin
	var b bytes.Buffer
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" font-family="monospace" font-size="12">`+"\n",
		width, height, width, height)
	fmt.Fprintf(&b, `<rect width="100%%" height="100%%" fill="#fdf6e3"/><text x="%d" y="22" text-anchor="middle" font-size="16">%s</text>`+"\n", width/2, escape(title))
	root.draw(&b, margin, float64(width-2*margin), height-margin-rowHeight, root.count)
	b.WriteString("</svg>\n")
	_, err := w.Write(b.Bytes())
	return err
}

// draw draws a call and those it makes above it.
func (n *node) draw(b *bytes.Buffer, x, w float64, y int, total uint64) {
	share := strconv.FormatFloat(100*float64(n.count)/float64(max(total, 1)), 'f', 2, 64)
	fmt.Fprintf(b, `<g><title>%s: %d, %s %%</title><rect x="%.2f" y="%d" width="%.2f" height="%d" fill="%s" stroke="#fdf6e3"/>`,
		escape(n.name), n.count, share, x, y, w, rowHeight-1, colour(n.name))
	if room := int(w-4) / charWidth; room >= 3 {
		name := []rune(n.name)
		if len(name) > room {
			name = append(name[:room-1], '…')
		}
		fmt.Fprintf(b, `<text x="%.2f" y="%d">%s</text>`, x+2, y+rowHeight-5, escape(string(name)))
	}
	b.WriteString("</g>\n")
	for _, c := range n.below {
		part := w * float64(c.count) / float64(max(n.count, 1))
		if part >= leastWide {
			c.draw(b, x, part, y-rowHeight, total)
		}
		x += part
	}
}

// colour is always the same for a name: warm, in shades that a reader can tell apart.
func colour(name string) string {
	h := fnv.New32a()
	h.Write([]byte(name))
	v := h.Sum32()
	return fmt.Sprintf("#%02x%02x%02x", 205+v%50, 120+v>>8%100, 60+v>>16%40)
}

func escape(s string) string {
	var b bytes.Buffer
	xml.EscapeText(&b, []byte(s))
	return b.String()
}
