package main

import (
	"debug/elf"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"
)

// oneLiner is the script of the second table.
const oneLiner = "tracepoint:syscalls:sys_enter_read { @[comm] = hist(args.count); }"

// Process is how long a tool takes to attach the one-liner and to end, and its memory while it runs: medians.
type Process struct {
	Tool     string
	Measured bool
	Attach   time.Duration // from exec
	Exit     time.Duration // from SIGINT
	Resident int64         // bytes
}

// processes starts and stops the tools.
func processes(opt options) []Process {
	var slope []string
	if _, err := os.Stat(opt.slope); err == nil {
		slope = []string{opt.slope, "-e", oneLiner}
		dynamic, err := linked(opt.slope)
		if dynamic {
			err = fmt.Errorf("the static binary that make build makes: %s is linked dynamically", opt.slope)
		}
		if err != nil {
			warn(err)
		}
	}
	var out []Process
	for _, p := range []struct {
		name    string
		command []string
	}{{"slope", slope}, {"bpftrace", traceCommand(strings.ReplaceAll(oneLiner, "args.", "args->"))}} {
		one := Process{Tool: p.name}
		if p.command != nil {
			if err := one.measure(p.command, opt.starts); err != nil {
				warn(err)
			}
		}
		out = append(out, one)
	}
	return out
}

// linked tells whether a program is put together by the loader when it starts.
func linked(path string) (bool, error) {
	f, err := elf.Open(path)
	if err != nil {
		return false, err
	}
	defer f.Close()
	return slices.ContainsFunc(f.Progs, func(p *elf.Prog) bool { return p.Type == elf.PT_INTERP }), nil
}

func (p *Process) measure(command []string, starts int) error {
	var attach, exit []time.Duration
	var memory []int64
	for range starts {
		t, err := start(command)
		if err != nil {
			return fmt.Errorf("measure start: %w", err)
		}
		time.Sleep(50 * time.Millisecond) // let it get to rest
		bytes, err := t.resident()
		if err != nil {
			t.stop()
			return err
		}
		took, err := t.stop()
		if err != nil {
			return err
		}
		attach, exit, memory = append(attach, t.attached), append(exit, took), append(memory, bytes)
	}
	p.Measured, p.Attach, p.Exit, p.Resident = true, median(attach), median(exit), median(memory)
	return nil
}

func median[T int64 | time.Duration](list []T) T {
	slices.Sort(list)
	return list[len(list)/2]
}
