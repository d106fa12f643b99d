package btf

import (
	"maps"
	"slices"
	"strings"

	"github.com/slopebpf/slope/lang/types"
)

// EachRawTracepoint calls f with every raw tracepoint, in order of their names, until f returns false. One pass over the
// types serves them all; args reads the arguments, nil when they cannot be read.
func (ix *Index) EachRawTracepoint(f func(event string, id uint32, args func() types.Fields) bool) {
	defs, funcs := map[string]uint32{}, map[string]uint32{}
	ix.Each(KindTypedef, func(id uint32, name string) bool {
		if event, ok := strings.CutPrefix(name, tracepointPrefix); ok {
			defs[event] = id
		}
		return true
	})
	ix.Each(KindFunc, func(id uint32, name string) bool {
		if event, ok := strings.CutPrefix(name, iterPrefix); ok {
			funcs[event] = id
		} else if event, ok := strings.CutPrefix(name, gluePrefix); ok && funcs[event] == 0 {
			funcs[event] = id
		}
		return true
	})
	for _, event := range slices.Sorted(maps.Keys(defs)) {
		args := func() types.Fields {
			def, _ := ix.record(defs[event])
			fn, _ := ix.record(funcs[event])
			_, fields, err := ix.tracepointArgs(event, def, fn)
			if err != nil {
				return nil
			}
			return fields
		}
		if !f(event, defs[event], args) {
			return
		}
	}
}
