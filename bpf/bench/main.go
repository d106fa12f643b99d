// Package main measures what slope's programs cost, beside the same programs in C and in bpftrace's language.
//
//	go run ./bpf/bench [-short] [-json]
//
// Four tables are printed: the cost of an event, how long the compiler takes, how long a script takes to start and to
// end, and how fast records come out of the ring buffer. What is not installed (clang, bpftrace) or not built (bin/slope) shows as "-".
//
// An event is fired by a program of the type syscall that calls the kernel function bpf_modify_return_test_tp in a
// loop, which fires the tracepoint bpf_trigger_tp (see trigger.go); nothing else runs on that tracepoint, and no
// system call adds its noise. The cost of a program is the time of an event with it less that with an empty program
// attached in the same way. Machines are noisy: what counts is the least of many rounds, in which the programs take
// turns (see measure.go). Times then differ by whole cycles of the CPU, so that less than about half a nanosecond
// between two programs says nothing. Each row of rows.go names a script, a function of c/programs.c and a script of
// bpftrace's.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"time"
)

// options says how long to measure.
type options struct {
	only   string // names of rows contain it
	slope  string // the installed program
	rounds int    // turns of every program
	runs   int    // of the trigger in a turn
	starts int    // of every tool
	flow   time.Duration
}

// Report is everything that was measured.
type Report struct {
	Kernel  string
	Events  []Event
	Compile []Compiling
	Process []Process
	Ring    Ring
}

func main() {
	short := flag.Bool("short", false, "measure for a few seconds only")
	asJSON := flag.Bool("json", false, "print JSON")
	only := flag.String("rows", "", "measure only rows whose name contains this")
	path := flag.String("slope", "bin/slope", "the program whose start is measured")
	rounds := flag.Int("rounds", 0, "turns of every program")
	flag.Parse()
	opt := long()
	if *short {
		opt = brief()
	}
	if *rounds > 0 {
		opt.rounds = *rounds
	}
	opt.only, opt.slope = *only, *path
	r, err := run(opt)
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
	if *asJSON {
		out := json.NewEncoder(os.Stdout)
		out.SetIndent("", "  ")
		err = out.Encode(r)
	} else {
		err = r.print(os.Stdout)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func long() options {
	return options{rounds: 40, runs: 30, starts: 9, flow: 3 * time.Second}
}

func brief() options {
	return options{rounds: 3, runs: 10, starts: 1, flow: 200 * time.Millisecond}
}

func run(opt options) (*Report, error) {
	k, err := openKernel()
	if err != nil {
		return nil, err
	}
	defer k.Close()
	r := &Report{Kernel: release()}
	if r.Events, err = k.events(opt); err != nil {
		return nil, err
	}
	if opt.only != "" {
		return r, nil
	}
	if r.Compile, err = k.compiling(opt); err != nil {
		return nil, err
	}
	if r.Ring, err = k.ring(opt); err != nil {
		return nil, err
	}
	r.Process = processes(opt)
	return r, nil
}

// warn tells why something that slope is compared with could not be measured.
func warn(err error) { fmt.Fprintln(os.Stderr, "bench: not measured:", err) }
