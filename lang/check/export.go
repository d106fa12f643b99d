package check

import (
	"slices"

	"github.com/slopebpf/slope/lang/syntax"
)

// Export is a declaration that puts a plain map into the metrics.
type Export struct {
	Node   *syntax.Export
	Map    *Map
	Labels []string // of the parts of the key, in order
	Kind   string   // counter, gauge or histogram
	Help   string
}

// exportKinds are what a map can be exported as.
var exportKinds = []string{"counter", "gauge", "histogram"}

// export takes "export @bytes[comm] as counter "Bytes read, by command";".
func (c *checker) export(n *syntax.Export) {
	e := &Export{Node: n, Kind: n.Kind.Text}
	if !slices.Contains(exportKinds, e.Kind) {
		d := c.errorf(n.Kind, "unknown kind of metric '%s'", e.Kind)
		suggest(d, e.Kind, exportKinds)
		if d.Hint == "" {
			d.WithHint("kinds: counter, gauge, histogram")
		}
		return
	}
	if n.Map.Text == "" {
		c.errorf(n.Map, "the map '@' has no name that a metric could have")
		return
	}
	for _, x := range c.prog.Exports {
		if x.Map.Name == "@"+n.Map.Text {
			c.errorf(n.Map, "map '%s' is exported already", x.Map.Name)
			return
		}
	}
	for _, l := range n.Labels {
		if l.Text == "le" || l.Text == "quantile" || slices.Contains(e.Labels, l.Text) {
			c.errorf(l, "label '%s' is used twice or reserved", l.Text)
		}
		e.Labels = append(e.Labels, l.Text)
	}
	if n.Help != nil {
		e.Help = n.Help.Value
	}
	e.Map = c.mapNamed("@"+n.Map.Text, n.Map.Span())
	c.prog.Exports = append(c.prog.Exports, e)
}

// finishExports checks what needs the types of the maps.
func (c *checker) finishExports() {
	for _, e := range c.prog.Exports {
		switch {
		case e.Map.Value == nil:
			c.errorf(e.Node.Map, "undefined map: %s", e.Map.Name)
		case len(e.Labels) > 0 && len(e.Labels) != max(e.Map.Keys, 0):
			c.errorf(e.Node.Map, "map '%s' has %s, got %s", e.Map.Name, plural(max(e.Map.Keys, 0), "key"), plural(len(e.Labels), "label"))
		}
	}
}
