package compiler_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/slopebpf/slope/compiler"
	"github.com/slopebpf/slope/compiler/ir"
	"github.com/slopebpf/slope/lang/source"
	"github.com/slopebpf/slope/lang/types"
	"github.com/slopebpf/slope/runtime/agg"
	"github.com/slopebpf/slope/runtime/events"
	"github.com/slopebpf/slope/runtime/export"
)

// madeUp gives everything a name that is made of its number.
type madeUp struct{}

func (madeUp) Symbol(user bool, addr, pid uint64) string { return fmt.Sprintf("f%t%x", user, addr) }
func (madeUp) User(id uint64) string                     { return fmt.Sprintf("user%d", id) }
func (madeUp) Cgroup(id uint64, filter string) string    { return fmt.Sprintf("%s:/%d", filter, id) }
func (madeUp) Boot() time.Time                           { return time.Unix(0, 0).UTC() }
func (madeUp) TAI() time.Duration                        { return 0 }

// actions prints what records ask for.
type actions struct {
	export.Output
	out *bytes.Buffer
	obj *compiler.Object
}

func (a actions) PrintMap(m *ir.Map, top, div int64) { fmt.Fprintln(a.out, "print", m.Name, top, div) }
func (a actions) PrintEntry(m *ir.Map, key []byte)   { fmt.Fprintf(a.out, "print %s[%x]\n", m.Name, key) }
func (a actions) Note(int)                           {}
func (a actions) Clear(m *ir.Map)                    { fmt.Fprintln(a.out, "clear", m.Name) }
func (a actions) Zero(m *ir.Map)                     { fmt.Fprintln(a.out, "zero", m.Name) }
func (a actions) Exit(status int)                    { fmt.Fprintln(a.out, "exit", status) }
func (a actions) Unwatch(address uint64)             { fmt.Fprintln(a.out, "unwatch", address) }
func (a actions) Cat(path string)                    { fmt.Fprintln(a.out, "cat", path) }
func (a actions) System(command string)              { fmt.Fprintln(a.out, "system", command) }
func (a actions) Message(e *ir.Event, text string) {
	a.Diagnose(source.Diagnostic{File: a.obj.IR.Source, Span: e.Span, Message: text})
}

// product prints what a script leaves behind as slope does, as text and as JSON. Its text is not compared with what the
// script wants: only that it is the same whoever ran the script.
func product(t testing.TB, obj *compiler.Object, o *outcome, vary map[string]bool) string {
	t.Helper()
	var out bytes.Buffer
	values := export.Values{MaxStrlen: obj.Checked.Config.MaxStrlen, Names: madeUp{}}
	for _, to := range []export.Output{export.NewText(export.TextOptions{Out: &out, Diag: &out, Values: values}), export.NewJSON(&out, values)} {
		h, err := events.New(obj.IR.Events, events.Options{Sink: to, Host: actions{to, &out, obj}, Values: values, Now: func() time.Time { return time.Unix(0, 0).UTC() }})
		if err != nil {
			t.Fatal(err)
		}
		for _, rec := range o.records {
			if err := h.Handle(rec); err != nil {
				t.Errorf("%s: %v", obj.IR.Source.Name, err)
			}
		}
		for _, m := range obj.IR.Maps {
			if !strings.HasPrefix(m.Name, "@") || vary[m.Name] || hasStack(m.Key) || hasStack(m.Value) {
				continue
			}
			s, err := agg.Read(m, func(f func(key, value []byte) error) error {
				for k, v := range o.maps[m.Name] {
					if err := f([]byte(k), v); err != nil {
						return err
					}
				}
				return nil
			})
			if err != nil {
				t.Errorf("%s: %v", obj.IR.Source.Name, err)
				continue
			}
			to.Map(s, 0, 0)
		}
	}
	return out.String()
}

// hasStack tells whether a value has the calls of whoever ran the script.
func hasStack(t *types.Type) bool {
	if t == nil {
		return false
	}
	for _, e := range t.Elems {
		if hasStack(e) {
			return true
		}
	}
	return t.Kind == types.Stack
}
