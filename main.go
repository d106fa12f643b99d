// Slope traces, measures and judges: a bpftrace-style language for service-level indicators on eBPF.
package main

import (
	"os"

	"github.com/slopebpf/slope/cli"
)

func main() { os.Exit(cli.Main(os.Args[1:], cli.Standard())) }
