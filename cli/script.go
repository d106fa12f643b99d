package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/slopebpf/slope/bpf"
	"github.com/slopebpf/slope/compiler"
	"github.com/slopebpf/slope/compiler/backend"
	"github.com/slopebpf/slope/lang/source"
	"github.com/slopebpf/slope/lang/types"
	"github.com/slopebpf/slope/stdlib"
)

// readScript reads a file, "-" for the standard input, or takes the text of -e.
func (s Streams) readScript(text, file string) (*source.File, error) {
	if file == "" {
		return source.NewFile("stdin", text), nil
	}
	if file == "-" {
		b, err := io.ReadAll(s.In)
		if err != nil {
			return nil, fmt.Errorf("read standard input: %w", err)
		}
		return source.NewFile("stdin", string(b)), nil
	}
	b, err := os.ReadFile(file)
	if err != nil {
		var pe *os.PathError
		if errors.As(err, &pe) {
			err = pe.Err
		}
		return nil, fmt.Errorf("failed to open file '%s': %w", file, err)
	}
	return source.NewFile(file, string(b)), nil
}

// workshop is what compiling for this machine takes.
type workshop struct {
	registry *stdlib.Registry
	machine  *stdlib.Machine
	features *bpf.Features
}

func newWorkshop(pid int) *workshop {
	reg := stdlib.New()
	return &workshop{registry: reg, machine: &stdlib.Machine{Registry: reg, Pid: pid}, features: &bpf.Features{}}
}

func (w *workshop) close() error { return w.machine.Close() }

// options are the compiler's options for this machine.
func (w *workshop) options(params []string, pid int) compiler.Options {
	cpus, err := bpf.PossibleCPUs()
	if err != nil {
		cpus = 1
	}
	params, named := parameters(params)
	return compiler.Options{
		Named: named, Universe: w.registry, Library: w.registry, Resolver: w.machine, Config: types.DefaultConfig(), Environment: settings(),
		Params: params, Pid: pid, CPUs: cpus, Kernel: w.machine.Kernel(w.features), Import: importFile,
		Backend: backend.Features{SDiv: w.features.SDiv() == nil, MovSX: w.features.SDiv() == nil, LongJumps: w.features.SDiv() == nil, AtomicFetch: w.features.AtomicFetch() == nil,
			Function: w.machine.Function, FuncIP: w.features.FuncIP, Lacks: stdlib.Lacks(w.features)},
	}
}

// parameters parts what follows the script into positional parameters and named ones, --name or --name=value.
func parameters(args []string) (positional []string, named map[string]string) {
	named = map[string]string{}
	for _, a := range args {
		if rest, ok := strings.CutPrefix(a, "--"); ok && rest != "" {
			name, value, _ := strings.Cut(rest, "=")
			named[name] = value
			continue
		}
		positional = append(positional, a)
	}
	return positional, named
}

// rawID finds the BTF id of a raw tracepoint.
func (w *workshop) rawID(event string) (uint32, error) {
	ix, err := w.machine.BTF()
	if err != nil {
		return 0, err
	}
	return ix.RawTracepoint(event)
}

// stages splits the argument of -d.
func stages(arg string) ([]string, error) {
	if arg == "" {
		return nil, nil
	}
	known := append(compiler.Stages(), "all")
	out := strings.Split(arg, ",")
	for _, s := range out {
		found := false
		for _, k := range known {
			found = found || k == s
		}
		if !found {
			return nil, usagef("unknown stage '%s' for -d: want one of %s", s, strings.Join(known, ", "))
		}
	}
	return out, nil
}

// settings are those of the environment, by the names that they have in a script.
func settings() map[string]string {
	out := map[string]string{}
	for _, v := range os.Environ() {
		if rest, ok := strings.CutPrefix(v, "BPFTRACE_"); ok {
			name, value, _ := strings.Cut(rest, "=")
			out[strings.ToLower(name)] = value
		}
	}
	return out
}
