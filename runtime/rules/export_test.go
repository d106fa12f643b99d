package rules

import "github.com/slopebpf/slope/lang/syntax"

// ExportedLabels is for the test that compares them with the exporter's.
func ExportedLabels(s *syntax.SLI) []string { return exportedLabels(s) }
