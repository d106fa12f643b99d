package bpf

import (
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// VerifierError is the kernel's refusal to load a program.
type VerifierError struct {
	Errno   unix.Errno
	Log     string // all the verifier said; empty when it was not reached
	Insn    int    // index of the rejected 8-byte slot, -1 when the log names none
	Slots   int    // length of the program in slots
	Reason  string // one line
	Always  bool   // any program that is to be loaded so is refused, one that does nothing too
	Missing error  // not nil when a feature or a privilege is missing: a *FeatureError or *PrivilegeError
}

// Error tells the reason and where.
func (e *VerifierError) Error() string {
	var b strings.Builder
	if e.Reason != "" {
		b.WriteString(e.Reason)
		if e.Insn >= 0 {
			fmt.Fprintf(&b, " at instruction %d", e.Insn)
		}
		b.WriteString(": ")
	}
	b.WriteString(e.Errno.Error())
	return b.String()
}

// Unwrap gives the errno and what is missing.
func (e *VerifierError) Unwrap() []error {
	if e.Missing != nil {
		return []error{e.Errno, e.Missing}
	}
	return []error{e.Errno}
}

// ParseLog finds in a verifier log the slot of the rejected instruction (-1 if none) and the line that says why.
//
// The log lists the instructions as they are visited, "12: (79) r0 = *(u64 *)(r2 +0)", between them lines of register
// states ("12: R0=…", "from 3 to 7: …"), source comments ("; …") and, last, the complaint followed by statistics.
// Complaints of the passes before the walk name their instruction in words: "unreachable insn 7".
func ParseLog(log string) (insn int, reason string) {
	insn = -1
	for line := range strings.Lines(log) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == ';' || statistics(line) {
			continue
		}
		n, rest, numbered := slot(line)
		switch {
		case numbered && strings.HasPrefix(rest, "("):
			insn, reason = n, ""
			for _, end := range [...]string{"BPF program is too large", "The sequence of "} { // with no line of their own behind a jump
				if i := strings.Index(rest, end); i > 0 {
					reason = rest[i:]
				}
			}
		case numbered, strings.HasPrefix(line, "from ") && strings.Contains(line, ":"), strings.HasPrefix(line, "func#"),
			strings.HasPrefix(line, "mark_precise:"), strings.HasPrefix(line, "Live regs before insn"),
			strings.HasPrefix(line, "last_idx "), strings.HasPrefix(line, "regs="), strings.HasPrefix(line, "parent "):
		case strings.HasPrefix(line, "Validating "), strings.HasPrefix(line, "Func#"), strings.HasPrefix(line, "caller:"),
			strings.HasPrefix(line, "callee:"), strings.HasPrefix(line, "frame"), strings.HasPrefix(line, "returning from callee"),
			strings.HasPrefix(line, "to caller at"), strings.HasSuffix(line, ": safe"), strings.HasPrefix(line, "R") && isState(line):
		default:
			if reason == "" || !strings.Contains(reason, "invalid") && !strings.Contains(reason, "unknown") {
				reason = line
			}
		}
	}
	if named, ok := namedSlot(reason); ok {
		insn = named
	}
	if reason == "" {
		insn = -1
	}
	return insn, reason
}

// isState tells whether a line without a number is a dump of registers, "R0=inv(id=0) R10=fp0", "R0_w=…".
func isState(line string) bool {
	i := 1
	for i < len(line) && line[i] >= '0' && line[i] <= '9' {
		i++
	}
	return i > 1 && i < len(line) && (line[i] == '=' || line[i] == '_')
}

func statistics(line string) bool {
	for _, p := range [...]string{"processed ", "verification time ", "stack depth ", "max_states", "insns processed "} {
		if strings.HasPrefix(line, p) {
			return true
		}
	}
	return false
}

// slot splits "12: rest".
func slot(line string) (n int, rest string, ok bool) {
	head, rest, found := strings.Cut(line, ":")
	if !found {
		return 0, "", false
	}
	n, err := strconv.Atoi(head)
	return n, strings.TrimSpace(rest), err == nil && n >= 0
}

// namedSlot finds "insn 7" in a complaint.
func namedSlot(reason string) (int, bool) {
	for _, mark := range [...]string{"insn ", "insn=", "insn#"} {
		if _, rest, ok := strings.Cut(reason, mark); ok {
			end := 0
			for end < len(rest) && rest[end] >= '0' && rest[end] <= '9' {
				end++
			}
			if n, err := strconv.Atoi(rest[:end]); err == nil {
				return n, true
			}
		}
	}
	return 0, false
}

// missingHelper names the helper of a complaint about one that the kernel, or the program type, does not have.
func missingHelper(reason string) string {
	for _, p := range [...]string{"invalid func ", "unknown func ", "program of this type cannot use helper "} {
		if name, ok := strings.CutPrefix(reason, p); ok {
			return "helper " + strings.Replace(name, "unknown#", "number ", 1)
		}
	}
	if rest, ok := strings.CutPrefix(reason, "calling kernel function "); ok {
		name, _, _ := strings.Cut(rest, " ")
		return "kernel function " + name + " in this program type"
	}
	if strings.HasPrefix(reason, "BPF_CALL uses reserved fields") || strings.Contains(reason, "support calling kernel function") {
		return "calls of kernel functions" // before 5.13, or without a JIT
	}
	if strings.HasPrefix(reason, "BPF_ATOMIC uses invalid atomic opcode") || strings.HasPrefix(reason, "BPF_ALU uses reserved fields") ||
		strings.HasPrefix(reason, "BPF_STX uses reserved fields") || strings.HasPrefix(reason, "unknown opcode") {
		return "an instruction of the program"
	}
	return ""
}
