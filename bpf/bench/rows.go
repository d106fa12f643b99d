package main

// values says with which numbers the trigger fires: the argument of the event.
type values int

const (
	steady values = iota // always the same, what branches on it is predicted
	random               // any magnitude, none predictable
	pairs                // 1 and 2 by turns: the start and the end of something
	numValues
)

// row is one program in three languages.
type row struct {
	name   string
	values values
	per    float64 // events that make one of what is measured
	slope  string
	c      string // function of c/programs.c
	trace  string // bpftrace's; "" when it cannot say it
}

const (
	raw  = "rawtracepoint:bpf_trigger_tp"
	perf = "tracepoint:bpf_test_run:bpf_trigger_tp"
)

// one is a row whose action is the same in slope and bpftrace.
func one(action, c string) row {
	return row{name: action, per: 1, slope: raw + " { " + action + " }", c: c, trace: perf + " { " + action + " }"}
}

// of is a row about the event's argument.
func of(name string, v values, action, c, trace string) row {
	r := row{name: name, values: v, per: 1, slope: raw + " { " + action + " }", c: c}
	if trace != "" {
		r.trace = perf + " { " + trace + " }"
	}
	return r
}

func rows() []row {
	return []row{
		one("@ = count()", "count_all"),
		one("@[comm] = count()", "count_comm"),
		one("@[pid] = count()", "count_pid"),
		one("@ = hist(nsecs)", "hist_nsecs"),
		one("@[comm] = hist(nsecs)", "hist_comm"),
		of("@ = stats(arg0)", steady, "@ = stats(arg0)", "stats_arg", "@ = stats(args->nonce)"),
		of("@ = hist(arg0), steady", steady, "@ = hist(arg0)", "hist_arg", "@ = hist(args->nonce)"),
		of("@ = hist(arg0), random", random, "@ = hist(arg0)", "hist_arg", "@ = hist(args->nonce)"),
		of("@ = dist(arg0), steady", steady, "@ = dist(arg0)", "dist_arg", ""),
		of("@ = dist(arg0), random", random, "@ = dist(arg0)", "dist_arg", ""),
		{
			name: "start and delta", values: pairs, per: 2, c: "pair",
			slope: raw + " /args.nonce == 1/ { @start[tid] = nsecs; }\n" +
				raw + " /args.nonce == 2 && @start[tid]/ { @ns = hist(nsecs - @start[tid]); delete(@start, tid); }",
			trace: perf + " /args->nonce == 1/ { @start[tid] = nsecs; }\n" +
				perf + " /args->nonce == 2 && @start[tid]/ { @ns = hist(nsecs - @start[tid]); delete(@start[tid]); }",
		},
	}
}
