package export

import (
	"strings"
	"time"
)

// Notice is something that happened to the objectives of a script.
type Notice struct {
	Kind  string // alert, gate, incident, history or trouble
	Time  time.Time
	SLO   string   // "" where it concerns none
	Group []string // name=value, of an objective by labels
	State string   // of an alert: the new one
	Text  string
}

// Notice prints a line among the messages.
func (t *Text) Notice(n Notice) {
	dst := append(t.buf, n.Time.Format("15:04:05 ")...)
	if n.SLO != "" {
		dst = append(dst, n.SLO...)
		if len(n.Group) > 0 {
			dst = append(dst, "["+strings.Join(n.Group, ", ")+"]"...)
		}
		dst = append(dst, ": "...)
	}
	switch n.State {
	case "page":
		dst = t.colour(dst, red, n.Text)
	case "ticket", "nodata":
		dst = t.colour(dst, yellow, n.Text)
	default:
		dst = append(dst, n.Text...)
	}
	t.buf = append(dst, '\n')
	t.flush(t.Diag)
}

// Notice writes an object with the kind as its type.
func (j *JSON) Notice(n Notice) {
	b := append(j.begin(n.Kind), `{"time": `...)
	b = appendQuoted(b, n.Time.UTC().Format(time.RFC3339))
	if n.SLO != "" {
		b = appendQuoted(append(b, `, "slo": `...), n.SLO)
		b = append(b, `, "labels": [`...)
		for i, l := range n.Group {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendQuoted(b, l)
		}
		b = append(b, ']')
	}
	if n.State != "" {
		b = appendQuoted(append(b, `, "state": `...), n.State)
	}
	j.line(append(appendQuoted(append(b, `, "text": `...), n.Text), "}}"...))
}
