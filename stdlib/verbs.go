package stdlib

import "github.com/slopebpf/slope/lang/types"

// verbs are the functions of sli bodies. What they do to the sli is in lang/check and compiler/lower; the rows say how
// they are called.
func verbs() []Func {
	key := types.Param{Name: "key", Kind: types.AnyParam, Repeated: true}
	label := types.Param{Name: "label", Kind: types.AnyParam, Repeated: true}
	verb := func(name string, v types.Verb, text, example string, params ...types.Param) Func {
		return Func{Func: types.Func{Doc: types.Doc{Name: name, Text: text, Examples: []string{example}}, Class: types.VerbFunc, Verb: v, Params: params}}
	}
	const span = "sli reads { unit = seconds;\n\ttracepoint:syscalls:sys_enter_read { start(tid); }\n\ttracepoint:syscalls:sys_exit_read { observe(stop(tid)); }\n}"
	return []Func{
		verb("start", types.Start, "Remember the time under a key, until stop or cancel.", span, key),
		verb("stop", types.Stop, "The nanoseconds since start with this key, which is forgotten. Without a start the action ends.", span, key),
		verb("cancel", types.Cancel, "Forget a start.",
			"sli reads { unit = seconds;\n\ttracepoint:syscalls:sys_enter_read { start(tid); }\n\ttracepoint:syscalls:sys_exit_read { if (args.ret < 0) { cancel(tid); } observe(stop(tid)); }\n}", key),
		verb("observe", types.Observe, "Record one event with a value: nanoseconds, bytes or a number, as the unit of the sli says.", span,
			types.Param{Name: "value", Kind: types.IntParam}, label),
		verb("good", types.Good, "Record one good event.",
			"sli calls { tracepoint:raw_syscalls:sys_exit { if (args.ret < 0) { bad(); } else { good(); } } }", label),
		verb("bad", types.BadVerb, "Record one bad event.",
			"sli calls[call] { tracepoint:raw_syscalls:sys_exit { if (args.ret < 0) { bad(args.id); } else { good(args.id); } } }", label),
		verb("event", types.EventIf, "Record one event, good when the condition holds.",
			"sli calls[name] { tracepoint:raw_syscalls:sys_exit { event(args.ret >= 0, comm); } }",
			types.Param{Name: "good", Kind: types.IntParam}, label),
		verb("advance", types.Advance, "Record cumulative counters that something else keeps: how many events were bad, and how many there were. What they grow by since the last call counts; one that goes down was reset and counts anew.",
			"sli reclaim { poll:10s { advance(read(\"/proc/vmstat\", \"allocstall_normal\"), read(\"/proc/vmstat\", \"pgalloc_normal\")); } }",
			types.Param{Name: "bad", Kind: types.IntParam}, types.Param{Name: "total", Kind: types.IntParam}, label),
		verb("level", types.Level, "Record the value of a gauge now. Its objectives count good minutes: those in which every value was good.",
			"sli headroom { unit = ratio; poll:10s { level(ratio(read(\"/proc/meminfo\", \"MemAvailable\"), read(\"/proc/meminfo\", \"MemTotal\"))); } }\nslo memory = 99% of minutes of headroom >= 10% over 7d;",
			types.Param{Name: "value", Kind: types.IntParam}, label),
		verb("trace", types.Trace, "The trace ID of the events that this action records, a text of up to 32 bytes. It is exported with the exemplar of bad events.",
			"sli calls { tracepoint:raw_syscalls:sys_exit { trace(comm); event(args.ret >= 0); } }",
			types.Param{Name: "id", Kind: types.AnyParam}),
	}
}
