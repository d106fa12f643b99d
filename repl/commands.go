package repl

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/slopebpf/slope/compiler"
	"github.com/slopebpf/slope/compiler/ir"
	"github.com/slopebpf/slope/lang/ide"
	"github.com/slopebpf/slope/lang/source"
	"github.com/slopebpf/slope/runtime/engine"
	"github.com/slopebpf/slope/runtime/export"
	"github.com/slopebpf/slope/runtime/query"
)

// command is what is typed behind a colon.
type command struct {
	name, args, text string
	run              func(sh *shell, ctx context.Context, args string) error
}

func commands() []command {
	return []command{
		{"probes", "", "what was entered, with its hits and what they cost", (*shell).listProbes},
		{"maps", "", "the maps, with how full they are", (*shell).listMaps},
		{"slos", "", "the objectives with their budgets", func(sh *shell, _ context.Context, _ string) error { return sh.slos() }},
		{"drop", "N …", "take entries out", (*shell).drop},
		{"pause", "", "detach everything, keep the maps", func(sh *shell, _ context.Context, _ string) error { return sh.pause(true) }},
		{"resume", "", "attach everything again", func(sh *shell, _ context.Context, _ string) error { return sh.pause(false) }},
		{"clear", "@x", "empty a map", (*shell).clearMap},
		{"save", "FILE", "write what was entered as a script", (*shell).save},
		{"load", "FILE", "enter a script", (*shell).loadFile},
		{"explain", "", "what sli and slo became", (*shell).explain},
		{"asm", "", "the machine code of all programs", (*shell).asm},
		{"stats", "", "events, drops, time per hit, share of the CPU", (*shell).stats},
		{"doctor", "", "what this machine offers", (*shell).doctor},
		{"help", "[NAME]", "this, or what a name is", func(sh *shell, _ context.Context, args string) error { return sh.help(args) }},
		{"quit", "", "end, and print what a script prints", func(sh *shell, _ context.Context, _ string) error {
			sh.quit = true
			return nil
		}},
	}
}

// obey does one line.
func (sh *shell) obey(ctx context.Context, line string) {
	text := strings.TrimSpace(line)
	if strings.HasPrefix(text, ":") {
		sh.report(sh.command(ctx, text[1:]))
		return
	}
	word, rest, _ := strings.Cut(text, " ")
	if isWord(word) && (word != wordSLO || rest == "") {
		sh.report(sh.look(ctx, word, strings.TrimSpace(rest)))
		return
	}
	if isExpression(sh.machine(), text) {
		sh.report(sh.evaluate(ctx, line))
		return
	}
	sh.report(sh.enter(source.NewFile("line", line)))
}

// report tells an error.
func (sh *shell) report(err error) {
	var diags source.Diagnostics
	var b bytes.Buffer
	switch {
	case err == nil:
		return
	case errors.As(err, &diags):
		diags.Render(&b, sh.opt.Colour)
	case errors.Is(err, context.Canceled):
		return
	default:
		fmt.Fprintf(&b, "ERROR: %s\n", err)
	}
	sh.printf("%s", b.String())
}

// command does what is behind the colon. A beginning that is clear is enough.
func (sh *shell) command(ctx context.Context, text string) error {
	name, args, _ := strings.Cut(strings.TrimSpace(text), " ")
	var found []command
	var names []string
	for _, c := range commands() {
		if c.name == name {
			found = []command{c}
			break
		}
		if name != "" && strings.HasPrefix(c.name, name) {
			found = append(found, c)
		}
	}
	for _, c := range commands() {
		names = append(names, c.name)
	}
	switch len(found) {
	case 1:
		return found[0].run(sh, ctx, strings.TrimSpace(args))
	case 0:
		if near := source.Nearest(name, names); near != "" {
			return fmt.Errorf("unknown command ':%s'; did you mean ':%s'?", name, near)
		}
		return fmt.Errorf("unknown command ':%s'; :help lists them", name)
	}
	names = nil
	for _, c := range found {
		names = append(names, ":"+c.name)
	}
	return fmt.Errorf("':%s' may be %s", name, strings.Join(names, ", "))
}

// enter takes text into the script and tells what that did.
func (sh *shell) enter(file *source.File) error {
	done, diags, err := sh.session.Enter(file)
	if err != nil {
		return err
	}
	if diags.HasErrors() {
		return diags
	}
	sh.report(warnings(diags))
	var b strings.Builder
	took := milliseconds(done.Swap.Took)
	for _, i := range done.New {
		fmt.Fprintf(&b, "#%d %s in %s\n", i.ID, sh.verb(i), took)
	}
	for _, i := range done.Replaced {
		fmt.Fprintf(&b, "#%d replaced in %s\n", i.ID, took)
	}
	sh.printf("%s%s", b.String(), sh.swapText(done.Swap))
	return nil
}

// warnings makes an error of diagnostics that are none, so that they are told; nil without any.
func warnings(diags source.Diagnostics) error {
	if len(diags) == 0 {
		return nil
	}
	return diags
}

func (sh *shell) verb(i *Item) string {
	switch {
	case sh.session.paused:
		return "entered, paused,"
	case strings.HasPrefix(i.Key, "probe ") || strings.HasPrefix(i.Key, "alias ") || strings.HasPrefix(i.Key, "sli "):
		return "attached"
	}
	return "entered"
}

// swapText tells what was missed between two generations.
func (sh *shell) swapText(s Swap) string {
	var b strings.Builder
	if s.Gap > 0 {
		fmt.Fprintf(&b, "nothing was attached for %s: events of that time are not counted\n", milliseconds(s.Gap))
	}
	for _, l := range s.Losses {
		fmt.Fprintln(&b, lossText(l))
	}
	return b.String()
}

// lossText is one line on what was lost.
func lossText(l export.Loss) string {
	var b bytes.Buffer
	export.NewText(export.TextOptions{Out: &b, Diag: &b}).Losses([]export.Loss{l})
	return strings.TrimSpace(b.String())
}

func milliseconds(d time.Duration) string {
	if d < 10*time.Millisecond {
		return fmt.Sprintf("%.1f ms", float64(d)/float64(time.Millisecond))
	}
	return fmt.Sprintf("%d ms", d.Milliseconds())
}

func (sh *shell) drop(_ context.Context, args string) error {
	var ids []int
	for _, a := range strings.FieldsFunc(args, func(r rune) bool { return r == ' ' || r == ',' }) {
		n, err := strconv.Atoi(strings.TrimPrefix(a, "#"))
		if err != nil {
			return fmt.Errorf("got '%s', want the number of an entry: :drop 3", a)
		}
		ids = append(ids, n)
	}
	if len(ids) == 0 {
		return errors.New("got nothing, want the number of an entry: :drop 3")
	}
	swap, diags, err := sh.session.Drop(ids)
	if err != nil {
		return err
	}
	if diags.HasErrors() {
		return diags
	}
	sh.printf("dropped in %s\n%s", milliseconds(swap.Took), sh.swapText(swap))
	return nil
}

func (sh *shell) pause(on bool) error {
	swap, err := sh.session.Pause(on)
	if err != nil {
		return err
	}
	if on {
		sh.printf("paused: nothing is attached, the maps stay; :resume goes on\n%s", sh.swapText(swap))
	} else {
		sh.printf("resumed in %s\n%s", milliseconds(swap.Took), sh.swapText(swap))
	}
	return nil
}

func (sh *shell) clearMap(_ context.Context, args string) error {
	p, err := sh.running()
	if err != nil {
		return err
	}
	m, err := query.FindMap(p, args)
	if err != nil {
		return err
	}
	return p.Clear(m)
}

func (sh *shell) save(_ context.Context, args string) error {
	if args == "" {
		return errors.New("got no file: :save FILE")
	}
	text, err := sh.session.Script()
	if err != nil {
		return err
	}
	if text == "" {
		return errors.New("nothing was entered that could be saved")
	}
	file := home(args)
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if errors.Is(err, os.ErrExist) {
		return fmt.Errorf("%s exists already: choose another name", args)
	}
	if err != nil {
		return fmt.Errorf("save: %w", err)
	}
	_, err = f.WriteString(text)
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("save: %w", err)
	}
	sh.printf("%s: %s\n", args, export.Counted(uint64(strings.Count(text, "\n")), "line"))
	return nil
}

// home replaces a leading ~.
func home(file string) string {
	if rest, ok := strings.CutPrefix(file, "~/"); ok {
		if dir, err := os.UserHomeDir(); err == nil {
			return filepath.Join(dir, rest)
		}
	}
	return file
}

func (sh *shell) loadFile(_ context.Context, args string) error {
	if args == "" {
		return errors.New("got no file: :load FILE")
	}
	text, err := os.ReadFile(home(args))
	if err != nil {
		return fmt.Errorf("load: %w", err)
	}
	return sh.enter(source.NewFile(args, string(text)))
}

// running is what runs, or an error that says how to begin.
func (sh *shell) running() (Program, error) {
	p := sh.session.Program()
	if p == nil {
		return nil, errors.New("nothing was entered yet; for example: tracepoint:raw_syscalls:sys_enter { @[comm] = count(); }")
	}
	return p, nil
}

func (sh *shell) explain(context.Context, string) error {
	p, err := sh.running()
	if err != nil {
		return err
	}
	var b bytes.Buffer
	compiler.Explain(&b, p.Object())
	sh.printf("%s", b.String())
	return nil
}

func (sh *shell) asm(context.Context, string) error {
	if _, err := sh.running(); err != nil {
		return err
	}
	var b bytes.Buffer
	sh.machine().Stages(compose(sh.session.items, nil, nil).file, "asm", &b)
	sh.printf("%s", b.String())
	return nil
}

func (sh *shell) doctor(context.Context, string) error {
	var b bytes.Buffer
	sh.machine().Doctor(&b)
	sh.printf("%s", b.String())
	return nil
}

// listProbes shows the items, each with what its programs did. Clauses on one hook are one program.
func (sh *shell) listProbes(context.Context, string) error {
	if len(sh.session.items) == 0 {
		_, err := sh.running()
		return err
	}
	p := sh.session.Program()
	stats, _, err := p.Stats()
	if err != nil {
		return err
	}
	text := compose(sh.session.items, nil, nil)
	byItem := map[int][]int{}
	for i, f := range p.Object().IR.Funcs {
		for _, id := range itemsOf(text, p.Object(), f) {
			byItem[id] = append(byItem[id], i)
		}
	}
	shared := map[int]int{}
	for _, list := range byItem {
		for _, i := range list {
			shared[i]++
		}
	}
	var b strings.Builder
	for _, i := range sh.session.items {
		_, name, _ := strings.Cut(i.Key, " ")
		if !strings.HasPrefix(i.Key, "probe ") {
			name = i.Key
		}
		fmt.Fprintf(&b, "#%d %s", i.ID, name)
		if sh.session.paused && len(byItem[i.ID]) == 0 {
			b.WriteString("   paused")
		}
		var total engine.ProgramStats
		common := false
		for _, n := range byItem[i.ID] {
			if n < len(stats) {
				total.Runs, total.Time, total.Missed = total.Runs+stats[n].Runs, total.Time+stats[n].Time, total.Missed+stats[n].Missed
				common = common || shared[n] > 1
			}
		}
		if len(byItem[i.ID]) > 0 {
			b.WriteString("   " + p.Object().IR.Funcs[byItem[i.ID][0]].Type.String() + "   " + costs(total, time.Since(p.Since())))
		}
		if common {
			b.WriteString("   (one program with others on this hook)")
		}
		b.WriteByte('\n')
	}
	sh.printf("%s", b.String())
	return nil
}

// itemsOf are the items with clauses in a program.
func itemsOf(text *script, obj *compiler.Object, f *ir.Func) []int {
	var out []int
	seen := map[int]bool{}
	add := func(at source.Span) {
		if id := text.find(at.Start).item.ID; !seen[id] {
			seen[id] = true
			out = append(out, id)
		}
	}
	for _, c := range obj.Checked.Clauses {
		for _, t := range c.Targets {
			for _, h := range f.Hooks {
				if h.Kind == t.Hook.Kind && h.Event == t.Hook.Event && h.Period == t.Hook.Period && h.Path == t.Hook.Path && samePoints(h.Points, t.Hook.Points) ||
					t.Raw != nil && h.Event == t.Raw.Event {
					add(c.Probe.Span())
				}
			}
		}
	}
	return out
}

// costs is how often a program ran and what that cost.
func costs(s engine.ProgramStats, elapsed time.Duration) string {
	if s.Runs == 0 && s.Missed == 0 {
		return "0 hits"
	}
	share := 0.0
	if elapsed > 0 {
		share = 100 * float64(s.Time) / float64(elapsed)
	}
	return fmt.Sprintf("%s   %d ns/hit   %.2f %% CPU   %s missed", export.Counted(s.Runs, "hit"), int64(s.Time)/max(int64(s.Runs), 1), share, export.Grouped(s.Missed))
}

func (sh *shell) listMaps(context.Context, string) error {
	p, err := sh.running()
	if err != nil {
		return err
	}
	var b strings.Builder
	for _, m := range p.Object().IR.Maps {
		if m.Name[0] != '@' || m.Value == nil {
			continue
		}
		s, err := p.Snapshot(m)
		if err != nil {
			return err
		}
		key := ""
		if m.Key != nil {
			key = "[" + m.Key.String() + "]"
		}
		fmt.Fprintf(&b, "%s%s: %s   %s of %s\n", m.Name, key, m.Value, export.Grouped(uint64(len(s.Rows))), export.Counted(uint64(m.MaxEntries), "entry"))
	}
	if b.Len() == 0 {
		b.WriteString("there are no maps\n")
	}
	sh.printf("%s", strings.ReplaceAll(b.String(), "entrys", "entries"))
	return nil
}

func (sh *shell) stats(context.Context, string) error {
	p, err := sh.running()
	if err != nil {
		return err
	}
	programs, events, err := p.Stats()
	if err != nil {
		return err
	}
	losses, err := p.Losses()
	if err != nil {
		return err
	}
	elapsed := time.Since(p.Since())
	var b strings.Builder
	lines, held := sh.opt.Output.Held()
	fmt.Fprintf(&b, "%s of output, %s held back; %s in the ring buffer\n", export.Counted(lines, "line"), export.Grouped(held), export.Counted(events, "record"))
	for i, s := range programs {
		name := s.Hook
		if fs := p.Object().IR.Funcs; i < len(fs) {
			name = fs[i].Type.String() + " " + name
		}
		fmt.Fprintf(&b, "%s   %s\n", name, costs(s, elapsed))
	}
	for _, l := range losses {
		fmt.Fprintln(&b, lossText(l))
	}
	sh.printf("%s", b.String())
	return nil
}

// help lists the commands, or tells what a name is.
func (sh *shell) help(name string) error {
	var b strings.Builder
	if name == "" {
		b.WriteString("Type a probe, sli, slo or a declaration: it takes effect at once and replaces what has the same name.\n" +
			"@x, @x[\"key\"] / 1024, p99(@x), rate(@x), a, b   print values now\n" +
			"watch @x · heat @x · top @x by rate · slo         look on; q ends\n" +
			"help NAME                                         what a function, variable or probe is\n")
		for _, c := range commands() {
			fmt.Fprintf(&b, ":%-22s %s\n", strings.TrimSpace(c.name+" "+c.args), c.text)
		}
		sh.printf("%s", b.String())
		return nil
	}
	title, doc := ide.Describe(strings.TrimSuffix(name, "()"), sh.world)
	if title == "" {
		return sh.noHelp(name)
	}
	fmt.Fprintf(&b, "%s\n", title)
	if doc != "" {
		fmt.Fprintf(&b, "%s\n", doc)
	}
	for _, e := range examples(sh.machine(), name) {
		fmt.Fprintf(&b, "  %s\n", strings.ReplaceAll(e, "\n", "\n  "))
	}
	sh.printf("%s", b.String())
	return nil
}
