// Package flame turns counted stacks into flame graphs and profiles.
//
// Stacks come from what slope prints: folded lines ("main;work;read 42"), the JSON lines of a map whose keys hold stacks,
// or the JSON of an incident report. They go out as folded lines, as an SVG picture, or as a profile for pprof. The outermost
// call is first; user code stands before the kernel's, other parts of a key (the command) before both.
//
// Start at Read and SVG. The package reads and writes streams only.
package flame

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/google/pprof/profile"
)

// Stack is calls from the outermost to the innermost, and how often they were seen.
type Stack struct {
	Frames []string
	Count  uint64
}

// ErrNoStacks says that the input holds no counted stacks.
var ErrNoStacks = errors.New("no counted stacks in the input")

// Read takes stacks in any of the forms, and joins those that are equal.
func Read(r io.Reader) ([]Stack, error) {
	text, err := io.ReadAll(r)
	if err != nil {
		return nil, err
	}
	var out []Stack
	trimmed := bytes.TrimSpace(text)
	switch {
	case len(trimmed) == 0:
	case trimmed[0] == '{' && json.Valid(trimmed):
		out, err = readObject(trimmed)
	case trimmed[0] == '{':
		for scan := bufio.NewScanner(bytes.NewReader(trimmed)); scan.Scan() && err == nil; {
			var more []Stack
			more, err = readObject(scan.Bytes())
			out = append(out, more...)
		}
	default:
		out, err = readFolded(trimmed)
	}
	if err != nil {
		return nil, err
	}
	if out = join(out); len(out) == 0 {
		return nil, ErrNoStacks
	}
	return out, nil
}

// readFolded reads "a;b;c 12" lines.
func readFolded(text []byte) ([]Stack, error) {
	var out []Stack
	for i, line := range strings.Split(string(text), "\n") {
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		at := strings.LastIndexByte(line, ' ')
		n, err := strconv.ParseUint(line[at+1:], 10, 64)
		if at < 0 || err != nil {
			return nil, fmt.Errorf("line %d: got %q, want calls joined by ; and a count", i+1, line)
		}
		out = append(out, Stack{strings.Split(line[:at], ";"), n})
	}
	return out, nil
}

// readObject reads one JSON line of a run, or an incident report.
func readObject(text []byte) ([]Stack, error) {
	var object struct {
		Type   string
		Data   map[string]json.RawMessage
		Stacks []struct {
			Stack string
			Count uint64
		}
	}
	if err := json.Unmarshal(text, &object); err != nil {
		return nil, nil // a line of another kind
	}
	var out []Stack
	for _, s := range object.Stacks {
		out = append(out, Stack{strings.Split(s.Stack, ";"), s.Count})
	}
	if object.Type != "map" {
		return out, nil
	}
	for _, raw := range object.Data {
		var entries map[string]json.Number
		if json.Unmarshal(raw, &entries) != nil {
			continue
		}
		for key, n := range entries {
			count, err := strconv.ParseUint(n.String(), 10, 63)
			if frames := parseKey(key); frames != nil && err != nil {
				return nil, fmt.Errorf("a stack has the value %s, want a whole number from 0 on, as of count() or sum()", n)
			} else if frames != nil {
				out = append(out, Stack{frames, count})
			}
		}
	}
	return out, nil
}

// parseKey takes the key of a map apart: stacks begin with a line end and have a line for each call, innermost first.
func parseKey(key string) []string {
	var rest []string
	var stacks [][]string
	for key != "" {
		if key[0] != '\n' {
			part, after, _ := strings.Cut(key, ",")
			rest, key = append(rest, part), after
			continue
		}
		key = key[1:]
		var calls []string
		for key != "" && key[0] != ',' {
			line, after, _ := strings.Cut(key, "\n")
			calls, key = append(calls, function(line)), after
		}
		slices.Reverse(calls)
		stacks = append(stacks, calls)
		key = strings.TrimPrefix(key, ",")
	}
	if stacks == nil {
		return nil
	}
	out := rest
	for _, s := range stacks {
		out = append(out, s...)
	}
	return out
}

// function is the name in a line of a stack. In mode perf the address stands before it, and the file after it in brackets.
func function(line string) string {
	call := strings.TrimSpace(line)
	if rest, ok := strings.CutPrefix(line, "\t"); ok {
		_, call, _ = strings.Cut(rest, " ")
		if at := strings.LastIndex(call, " ("); at > 0 && strings.HasSuffix(call, ")") && call[at+2] == '/' {
			call = call[:at]
		}
	}
	if at := strings.LastIndexByte(call, '+'); at > 0 {
		if _, err := strconv.ParseUint(call[at+1:], 10, 64); err == nil {
			return call[:at]
		}
	}
	return call
}

// join adds up equal stacks, in order of their text.
func join(all []Stack) []Stack {
	place := map[string]int{}
	var out []Stack
	for _, s := range all {
		id := strings.Join(s.Frames, ";")
		if at, ok := place[id]; ok {
			out[at].Count += s.Count
			continue
		}
		place[id] = len(out)
		out = append(out, s)
	}
	slices.SortFunc(out, func(a, b Stack) int { return strings.Compare(strings.Join(a.Frames, ";"), strings.Join(b.Frames, ";")) })
	return out
}

// Folded writes a line for each stack.
func Folded(w io.Writer, stacks []Stack) error {
	for _, s := range stacks {
		if _, err := fmt.Fprintf(w, "%s %d\n", strings.Join(s.Frames, ";"), s.Count); err != nil {
			return err
		}
	}
	return nil
}

// Pprof writes a compressed profile of the counts.
func Pprof(w io.Writer, stacks []Stack) error {
	p := &profile.Profile{SampleType: []*profile.ValueType{{Type: "samples", Unit: "count"}}, DefaultSampleType: "samples"}
	places := map[string]*profile.Location{}
	for _, s := range stacks {
		sample := &profile.Sample{Value: []int64{int64(s.Count)}}
		for i := len(s.Frames) - 1; i >= 0; i-- {
			name := s.Frames[i]
			at := places[name]
			if at == nil {
				f := &profile.Function{ID: uint64(len(p.Function) + 1), Name: name, SystemName: name}
				at = &profile.Location{ID: uint64(len(p.Location) + 1), Line: []profile.Line{{Function: f}}}
				p.Function, p.Location = append(p.Function, f), append(p.Location, at)
				places[name] = at
			}
			sample.Location = append(sample.Location, at)
		}
		p.Sample = append(p.Sample, sample)
	}
	if err := p.CheckValid(); err != nil {
		return err
	}
	return p.Write(w)
}
