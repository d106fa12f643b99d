package engine_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/slopebpf/slope/bpf"
	"github.com/slopebpf/slope/bpf/bpftest"
	"github.com/slopebpf/slope/compiler"
	"github.com/slopebpf/slope/compiler/backend"
	"github.com/slopebpf/slope/lang/source"
	"github.com/slopebpf/slope/lang/types"
	"github.com/slopebpf/slope/runtime/engine"
	"github.com/slopebpf/slope/stdlib"
)

// contexts are probes, and what there is in them besides what is everywhere: numbers, and anything else. The kernel knows the types
// of most of the pointers.
var contexts = []struct {
	probe          string
	numbers, other []string
}{
	{"iter:task", []string{"(uint64)ctx.task.stack", "ctx.task.sched_reset_on_fork", "ctx.task.pid", "ctx.task.tgid", "ctx.task.prio", "ctx.task.se.vruntime", "ctx.task.parent.pid", "ctx.task.real_parent.real_parent.pid", "ctx.task.mm.mm_users.counter",
		"ctx.task.cred.uid.val", "ctx.meta.seq_num"}, []string{"ctx.task.comm", "ctx.task.parent.comm", "ctx.task.mm", "ctx.task.nsproxy.uts_ns.name.nodename", "ctx.task"}},
	{"iter:task_file", []string{"ctx.task.pid", "ctx.fd", "ctx.file.f_flags", "ctx.file.f_inode.i_ino", "ctx.file.f_path.dentry.d_name.len", "ctx.file.f_path.dentry.d_inode.i_ino"},
		[]string{"ctx.task.comm", "path(ctx.file.f_path)", "ctx.file.f_inode", "str(ctx.file.f_path.dentry.d_name.name)", "ctx.file"}},
	{"iter:task_vma", []string{"ctx.task.pid", "ctx.vma.vm_start", "ctx.vma.vm_end", "ctx.vma.vm_flags", "ctx.vma.vm_mm.total_vm", "ctx.vma.vm_file.f_flags"},
		[]string{"ctx.task.comm", "ctx.vma.vm_file", "path(ctx.vma.vm_file.f_path)", "ctx.vma"}},
	{"rawtracepoint:sched_switch", []string{"args.prev.pid", "args.next.pid", "args.preempt", "args.next.mm.mm_users.counter", "args.next.se.sum_exec_runtime", "args.next.cred.uid.val", "arg0", "arg1", "(uint64)args.next.stack", "args.next.in_execve"},
		[]string{"args.next.stack", "args.prev.comm", "args.next.comm", "args.prev.parent.comm", "args.next", "args.next.mm", "args"}},
	{"rawtracepoint:netif_receive_skb", []string{"args.skb.len", "args.skb.dev.ifindex", "args.skb.protocol", "args.skb.sk.__sk_common.skc_family", "args.skb.dev.mtu", "arg0"},
		[]string{"args.skb.dev.name", "args.skb.dev", "args.skb.sk", "args.skb.cb", "args.skb.data", "args.skb"}},
	{"rawtracepoint:sys_enter", []string{"args.id", "args.regs.di", "args.regs.si", "args.regs.ax", "arg0", "arg1"}, []string{"args.regs", "args"}},
	{"rawtracepoint:sched_process_exec", []string{"args.p.pid", "args.old_pid", "args.bprm.argc", "args.bprm.file.f_flags", "args.p.mm.total_vm", "arg0", "arg2"},
		[]string{"args.p.comm", "str(args.bprm.filename)", "args.bprm", "args.p.mm", "args.p.mm.exe_file", "args.bprm.file.f_path.dentry.d_inode"}},
	{"tracepoint:sched:sched_switch", []string{"args.prev_pid", "args.next_prio", "args.prev_state", "curtask.pid", "curtask.mm.total_vm"}, []string{"args.prev_comm", "args.next_comm", "curtask", "curtask.parent.comm"}},
	{"rawtracepoint:workqueue_execute_end", []string{"(uint64)args.function", "arg0", "arg1", "args.work.data.counter"}, []string{"args.function", "ksym(args.function)", "args.work", "args.work.func", "args"}},
	{"profile:hz:99", []string{"curtask.pid", "curtask.mm.total_vm", `reg("ip")`}, []string{"curtask", "curtask.parent.comm", "kstack(3)", "ustack(3)"}},
	{"fentry:vfs_read", []string{"args.count", "args.file.f_flags", "args.file.f_inode.i_ino", "args.file.f_path.dentry.d_inode.i_ino", "arg0", "arg2"}, []string{"args.file", "args.buf", "args.file.f_path.dentry", "args", "str(args.file.f_path.dentry.d_name.name)"}},
	{"fexit:vfs_read", []string{"args.count", "retval", "args.file.f_flags", "arg0"}, []string{"args.file", "args.file.f_inode"}},
	{"fentry:tcp_sendmsg", []string{"args.size", "args.sk.__sk_common.skc_dport", "args.sk.sk_socket.state", "args.sk.sk_socket.sk.sk_rcvbuf", "arg0"}, []string{"args.sk", "args.msg", "args.sk.sk_socket.file"}},
	{"fexit:dget_parent", []string{"args.dentry.d_inode.i_ino", "retval.d_inode.i_ino", "arg0"}, []string{"retval", "args.dentry", "args.dentry.d_inode", "retval.d_parent"}},
	{"kprobe:vfs_read", []string{"arg0", "arg2", "((struct file *)arg0).f_flags", "((struct file *)arg0).f_inode.i_ino"}, []string{"(struct file *)arg0", "curtask.comm"}},
}

// contextWriter writes scripts of one probe.
type contextWriter struct {
	*rand.Rand
	numbers, values []string
	pointers        []string
	maps            int
	loop            bool // around what is written: loops in loops are too complex for the kernel
}

func (w *contextWriter) number() string { return w.numbers[w.IntN(len(w.numbers))] }

// bare is a condition by itself.
func (w *contextWriter) bare() string {
	all := append(w.pointers, w.numbers...)
	return all[w.IntN(len(all))]
}

func (w *contextWriter) value(depth int) string {
	if depth < 2 && w.IntN(12) == 0 {
		return "(" + w.value(depth+1) + ", " + w.value(depth+1) + ")"
	}
	return w.values[w.IntN(len(w.values))]
}

func (w *contextWriter) list(n int) string {
	out := make([]string, n)
	for i := range out {
		out[i] = w.value(0)
	}
	return strings.Join(out, ", ")
}

func (w *contextWriter) block(depth int) string {
	var out []string
	for range 1 + w.IntN(5-depth) {
		out = append(out, w.stmt(depth))
	}
	return strings.Join(out, " ")
}

func (w *contextWriter) stmt(depth int) string {
	w.maps++
	m := "@m" + strconv.Itoa(w.maps)
	kinds := 13
	switch {
	case depth > 2:
		kinds = 8
	case w.loop:
		kinds = 11
	}
	switch w.IntN(kinds) {
	case 0:
		n := 1 + w.IntN(4)
		return fmt.Sprintf(`printf("%s\n", %s);`, strings.Repeat("%s ", n), w.list(n))
	case 1:
		return "print((" + w.list(2) + "));"
	case 2:
		return m + "[" + w.list(2) + "] = count();"
	case 3:
		return m + "[" + w.value(0) + "] = " + []string{"hist", "avg", "max", "stats", "sum"}[w.IntN(5)] + "(" + w.number() + ");"
	case 4:
		return m + "[" + w.number() + "] = (" + w.list(2) + ");"
	case 5:
		return "$v = (uint64)" + w.number() + " " + []string{"+", "*", "-", "^", "%"}[w.IntN(5)] + " 3;"
	case 6:
		return "@a = (uint64)" + w.number() + " + @a;"
	case 7:
		return "$t = " + w.number() + " == " + w.number() + ";"
	case 8:
		return fmt.Sprintf("if (%s) { %s } else { %s }", []string{w.bare(), "!" + w.bare(), w.bare() + " && " + w.number()}[w.IntN(3)], w.block(depth+1), w.block(depth+1))
	case 9:
		return fmt.Sprintf("if (%s %s %s) { %s } else { %s }", w.number(), []string{">", "<", "==", "!="}[w.IntN(4)], []string{w.number(), "5", "0"}[w.IntN(3)], w.block(depth+1), w.block(depth+1))
	case 10:
		return fmt.Sprintf(`if (strncmp(comm, "abc", %d) == 0) { %s }`, 1+w.IntN(4), w.block(depth+1))
	}
	w.loop = true
	defer func() { w.loop = false }()
	if w.IntN(2) == 0 {
		return fmt.Sprintf("for %s : 0..%d { %s }", "$i"+m[1:], 1+w.IntN(5), w.block(depth+1))
	}
	return fmt.Sprintf("while ($v %% 7 > %d) { $v--; %s }", w.IntN(6), w.block(depth+1))
}

// TestContexts loads generated scripts into the kernel that use what its probes have in all kinds of ways: 10 of each, 300 with
// SLOPE_SOAK=1, or SLOPE_CONTEXTS=n from seed SLOPE_SEED on. None that is well-typed is refused.
func TestContexts(t *testing.T) {
	feat := &bpf.Features{}
	bpftest.Require(t, feat.TestRun(), feat.RingBuf())
	n, _ := strconv.Atoi(os.Getenv("SLOPE_CONTEXTS"))
	switch {
	case n > 0:
	case os.Getenv("SLOPE_SOAK") != "":
		n = 300
	case testing.Short():
		n = 3
	default:
		n = 10
	}
	first, _ := strconv.Atoi(os.Getenv("SLOPE_SEED"))
	reg := stdlib.New()
	machine := &stdlib.Machine{Registry: reg}
	defer machine.Close()
	ix, err := machine.BTF()
	bpftest.Require(t, err)
	loaded, long := 0, 0
	for _, c := range contexts {
		t.Run(c.probe, func(t *testing.T) {
			compile := func(text string) (*compiler.Object, source.Diagnostics) {
				return compiler.Compile(source.NewFile("f.slo", text), compiler.Options{Universe: reg, Library: reg, Resolver: machine, VerifyIR: true,
					Config: types.DefaultConfig(), Kernel: machine.Kernel(feat), Backend: backend.Features{AtomicFetch: feat.AtomicFetch() == nil, SDiv: feat.SDiv() == nil, FuncIP: feat.FuncIP, Function: machine.Function, Lacks: stdlib.Lacks(feat)}, CPUs: runtime.NumCPU()})
			}
			if _, diags := compile(c.probe + " { }"); diags.HasErrors() {
				t.Log(diags) // not every kernel has all
				return
			}
			known := func(all []string) []string {
				return slices.DeleteFunc(slices.Clone(all), func(x string) bool {
					_, diags := compile(c.probe + " { print((" + x + ", 1)); }")
					if strings.Contains(diags.Error(), "internal error") {
						t.Errorf("%s: %s", x, diags)
					}
					return diags.HasErrors()
				})
			}
			numbers := append(known(c.numbers), "pid", "cpu", "5")
			values := slices.Concat(numbers, known(c.other), []string{"comm", "nsecs", `"text"`, "@a", "@s", "&@s", "$v", "curtask", "strlen(comm)", "(1, comm)"})
			pointers := slices.DeleteFunc(known(c.other), func(x string) bool {
				_, diags := compile(c.probe + " { if (" + x + ") { } }")
				return diags.HasErrors() && !strings.Contains(diags.Error(), "internal")
			})
			if len(numbers) < 5 {
				t.Errorf("of %q this kernel has %q", c.numbers, numbers)
			}
			for seed := first; seed < first+n; seed++ {
				w := &contextWriter{Rand: rand.New(rand.NewPCG(uint64(seed), 1)), numbers: numbers, values: values, pointers: pointers}
				text := c.probe + " { @a = 1; @s = comm; $v = (uint64)" + w.number() + "; " + w.block(0) + " }"
				obj, diags := compile(text)
				if diags.HasErrors() {
					t.Errorf("%d: %s\n%s", seed, text, diags)
					continue
				}
				e, err := engine.Load(obj, engine.Options{Features: feat, BTF: ix.RawTracepoint})
				if errors.Is(err, unix.EPERM) {
					t.Log(err) // not on every host; the kernel matrix has them
					return
				}
				if err != nil && (strings.Contains(err.Error(), "too complex") || strings.Contains(err.Error(), "program is too large")) {
					long++ // loops in loops
					continue
				}
				if err != nil && feat.AtomicFetch() != nil && strings.Contains(err.Error(), "too large for this kernel") {
					continue // keys have at most 512 bytes before 5.11
				}
				loaded++
				if err != nil {
					t.Errorf("%d: %s\n%s", seed, text, err)
					continue
				}
				e.Close()
			}
		})
	}
	if loaded < 8*n || long > loaded/20 {
		t.Errorf("%d scripts were loaded, %d were too complex", loaded, long)
	}
}
