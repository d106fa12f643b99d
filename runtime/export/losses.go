package export

import (
	"strconv"
	"strings"
)

// Losses prints a line for everything that was lost.
func (t *Text) Losses(losses []Loss) {
	for _, l := range losses {
		if l.Count == 0 {
			continue
		}
		if l.Place != "" {
			t.buf = append(append(t.buf, l.Place...), ": "...)
		}
		t.buf = t.colour(t.buf, yellow, "WARNING")
		t.buf = append(append(t.buf, ": "...), Explain(l)...)
		t.buf = append(t.buf, '\n')
	}
	t.flush(t.Diag)
}

// Cause is a cause of losses: its name in metrics and in reports, and what it means after a count.
type Cause struct{ Name, Text string }

// ofMap and detail stand in the text of a cause for the name of the map, and for what an error said.
const (
	ofMap  = " {map}"
	detail = "{detail}"
)

// Causes are those of everything that can be lost or changed.
func Causes() []Cause {
	return []Cause{
		{"ring_full", "events lost: the ring buffer was full"},
		{"map_full", "new keys lost: map" + ofMap + " is full; declare it larger or raise max_map_keys"},
		{"stack_full", "stacks lost: there was no room for more different ones; keep fewer frames or raise max_map_keys, of which scripts with profile, hardware, software or watchpoint probes use up to 65536"},
		{"span_full", "span starts lost: too many open spans" + ofMap},
		{"scratch_busy", "events lost: scratch memory was in use by an interrupted run"},
		{"truncated", "strings cut at their capacity"},
		{"packet_cut", "packets cut: they were longer than max_strlen, or not in one piece"},
		{"packet_fault", "packets not written: the kernel's memory could not be read"},
		{"over_limit", "events of label sets beyond the limit" + ofMap + " counted as other"},
		{"divide_by_zero", "divisions by zero gave 1"},
		{"read_fault", "reads of memory failed and gave zeros"},
		{"loop_limit", "loops were left before their end: they had more turns than this kernel allows"},
		{"signal_failed", "signals could not be sent"},
		{"trace_failed", "texts of debugf() that the kernel did not take"},
		{"counter_reset", "counters went back: what they counted before is not known"},
		{"not_unwound", "stacks of dw_ustack that are incomplete, or found by frame pointers: the tables of their process were not read yet, or say nothing that is known"},
		{"poll_failed", "polls failed: " + detail},
		{"negative", "negative values were recorded as 0"},
		{"missed", "runs skipped by the kernel, because the program was already running on the CPU"},
		{"unfollowed", "calls or returns missed by the kernel: more calls were under way than it can follow, or they were made by a probe"},
		{"damaged", "damaged records in the ring buffer"},
	}
}

// Explain says in words what a loss means.
func Explain(l Loss) string {
	text := "lost: " + l.Cause
	for _, c := range Causes() {
		if c.Name == l.Cause {
			text = c.Text
		}
	}
	in := ""
	if l.Map != "" {
		in = " " + l.Map
	}
	return Grouped(l.Count) + " " + strings.NewReplacer(ofMap, in, detail, l.Detail).Replace(text)
}

// Tenths writes a number of tenths.
func Tenths(n int64) string {
	s := ""
	if n < 0 {
		s, n = "-", -n
	}
	return s + strconv.FormatInt(n/10, 10) + "." + strconv.FormatInt(n%10, 10)
}

// colour is an SGR code of the terminal.
type colour string

const (
	green  colour = "32"
	yellow colour = "33"
	red    colour = "31"
	bold   colour = "1"
)

func (t *Text) colour(dst []byte, c colour, s string) []byte {
	if !t.Colour {
		return append(dst, s...)
	}
	return append(append(append(append(append(append(dst, "\x1b["...), c...), 'm'), s...), "\x1b["...), "0m"...)
}
