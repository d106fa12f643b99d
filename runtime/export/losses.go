package export

import "strconv"

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

// Explain says in words what a loss means.
func Explain(l Loss) string {
	n := Grouped(l.Count)
	in := ""
	if l.Map != "" {
		in = " " + l.Map
	}
	switch l.Cause {
	case "ring_full":
		return n + " events lost: the ring buffer was full"
	case "map_full":
		return n + " new keys lost: map" + in + " is full; declare it larger or raise max_map_keys"
	case "span_full":
		return n + " span starts lost: too many open spans" + in
	case "scratch_busy":
		return n + " events lost: scratch memory was in use by an interrupted run"
	case "truncated":
		return n + " strings cut at their capacity"
	case "over_limit":
		return n + " events of label sets beyond the limit" + in + " counted as other"
	case "divide_by_zero":
		return n + " divisions by zero gave 1"
	case "read_fault":
		return n + " reads of memory failed and gave zeros"
	case "loop_limit":
		return n + " loops were left before their end: they had more turns than this kernel allows"
	case "signal_failed":
		return n + " signals could not be sent"
	case "counter_reset":
		return n + " counters went back: what they counted before is not known"
	case "poll_failed":
		return n + " polls failed: " + l.Detail
	case "negative":
		return n + " negative values were recorded as 0"
	case "missed":
		return n + " runs skipped by the kernel, because the program was already running on the CPU"
	case "unfollowed":
		return n + " calls or returns missed by the kernel: more calls were under way than it can follow, or they were made by a probe"
	case "damaged":
		return n + " damaged records in the ring buffer"
	}
	return n + " lost: " + l.Cause
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
