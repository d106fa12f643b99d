// Refgen writes docs/reference.md from the rows of stdlib.
package main

import (
	"bytes"
	"fmt"
	"os"

	"github.com/slopebpf/slope/stdlib"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: refgen FILE")
		os.Exit(2)
	}
	var b bytes.Buffer
	stdlib.Reference(&b)
	if err := os.WriteFile(os.Args[1], b.Bytes(), 0o644); err != nil {
		fmt.Fprintln(os.Stderr, "refgen:", err)
		os.Exit(1)
	}
}
