// Package bpf talks to the kernel's BPF subsystem: it makes maps, loads and test-runs programs, reads maps and ring
// buffers, and probes what the kernel can do. Together with its subpackages (btf, tracefs, attach) it is the only
// place with bpf(2), perf_event_open(2) and tracefs.
//
// Programs and maps are the types of cilium/ebpf, but they are created by plain system calls: nothing is probed,
// no BTF is loaded and no verifier log is asked for until something has failed. That keeps the way from exec to a
// running probe below a millisecond here.
//
// Invariants. What is opened is closed on every error path. A failed load is a *VerifierError that names the rejected
// instruction where the log does. A missing kernel feature is an ErrNotSupported with the reason, found by trying,
// never by comparing versions. Nothing is lost silently: Ring counts what it could not decode.
//
// The package must not know the language, positions in scripts, or what a program is for, and it keeps no state
// outside of the values it returns. Start at Load, NewMap and Features.
package bpf
