package check

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/slopebpf/slope/lang/source"
	"github.com/slopebpf/slope/lang/syntax"
	"github.com/slopebpf/slope/lang/types"
)

// setting is a key of the configuration that slope obeys. set takes a value as text and says what it wants instead, "" when
// the value is fine.
type setting struct {
	name string
	set  func(c *types.Config, value string) (want string)
}

// settings are all of them, by name. In the environment their names are upper case and begin with BPFTRACE_.
func settings() []setting {
	number := func(name string, most uint64, to func(*types.Config) *int) setting {
		return setting{name, func(c *types.Config, value string) string {
			n, err := strconv.ParseUint(value, 0, 64)
			if err != nil || n == 0 || n > most {
				return "a positive integer up to " + strconv.FormatUint(most, 10)
			}
			*to(c) = int(n)
			return ""
		}}
	}
	word := func(name string, words []string, to func(c *types.Config, at int)) setting {
		return setting{name, func(c *types.Config, value string) string {
			at := slices.Index(words, value)
			if at < 0 {
				return "one of " + strings.Join(words, ", ")
			}
			to(c, at)
			return ""
		}}
	}
	unstable := []string{types.UnstableWarn: "warn", types.UnstableEnable: "enable", types.UnstableError: "error"}
	boolean := []string{"true", "false", "1", "0"}
	return []setting{
		word("cpp_demangle", boolean, func(c *types.Config, at int) { c.Mangled = at%2 == 1 }),
		word("license", types.Licenses(), func(*types.Config, int) {}),
		number("max_cat_bytes", 1<<26, func(c *types.Config) *int { return &c.MaxCat }),
		number("max_map_keys", 1<<26, func(c *types.Config) *int { return &c.MaxMapKeys }),
		number("max_strlen", 16384, func(c *types.Config) *int { return &c.MaxStrlen }),
		number("max_probes", 1<<16, func(c *types.Config) *int { return &c.MaxProbes }),
		number("max_unwind_rows", 1<<24, func(c *types.Config) *int { return &c.UnwindRows }),
		word("missing_probes", types.MissingPolicies(), func(c *types.Config, at int) { c.Missing = types.MissingPolicy(at) }),
		{"perf_rb_pages", func(c *types.Config, value string) string {
			n, err := strconv.ParseUint(value, 0, 64)
			if err != nil || n == 0 || n&(n-1) != 0 || n > 1<<18 {
				return "a power of two up to 262144"
			}
			c.RingSize = int(n) * types.RingPage
			return ""
		}},
		word("print_maps_on_exit", boolean, func(c *types.Config, at int) { c.HideMaps = at%2 == 1 }),
		word("stack_mode", types.StackModes(), func(c *types.Config, at int) { c.StackMode = at }),
		word("unstable_tseries", unstable, func(c *types.Config, at int) { c.TSeries = types.Unstable(at) }),
		word("unstable_typeinfo", unstable, func(c *types.Config, at int) { c.TypeInfo = types.Unstable(at) }),
	}
}

// The keys that change nothing: what the accepted ones ask for is how slope works, or concerns bpftrace's own workings.
var (
	acceptedKeys = []string{"cache_user_symbols", "lazy_symbolication", "log_size", "max_bpf_progs",
		"on_stack_limit", "show_debug_info", "str_trunc_trailer", "use_blazesym", "unstable_dw_ustack",
		"unstable_import_statement"}
	deprecatedKeys = []string{"symbol_source", "max_type_res_iterations", "unstable_addr", "unstable_import", "unstable_macro", "unstable_map_decl"}
	renamedKeys    = map[string]string{"strlen": "max_strlen", "no_cpp_demangle": "cpp_demangle", "cat_bytes_max": "max_cat_bytes", "map_keys_max": "max_map_keys"}
)

func settingNamed(name string) *setting {
	for _, s := range settings() {
		if s.name == name {
			return &s
		}
	}
	return nil
}

// fromOutside are the variables of the environment that concern the command line, or bpftrace's own workings.
var fromOutside = []string{"aot", "btf", "color", "dummy_ts_map", "kconfig_test", "kernel_build", "kernel_source", "objcopy", "vmlinux"}

// environment takes the settings of the environment, which win over those of the script.
func (c *checker) environment() {
	for _, name := range slices.Sorted(maps.Keys(c.opt.Environment)) {
		if slices.Contains(fromOutside, name) {
			continue
		}
		variable, value := "BPFTRACE_"+strings.ToUpper(name), c.opt.Environment[name]
		file := source.NewFile("environment", variable+"="+value)
		end := int32(len(variable))
		c.set(name, value, &c.prog.Config, origin{file, source.Span{End: end}, source.Span{Start: end + 1, End: int32(len(file.Text))},
			"environment variable", func(name string) string { return "BPFTRACE_" + strings.ToUpper(name) }})
	}
}

// config takes a config block.
func (c *checker) config(n *syntax.Config) {
	for _, p := range n.Props {
		name := strings.TrimPrefix(strings.ToLower(p.Name.Text), "bpftrace_")
		to := &c.prog.Config
		if _, set := c.opt.Environment[name]; set {
			to = &types.Config{} // checked, not obeyed
		}
		c.set(name, configText(p.Value), to, origin{c.file.Source, p.Name.Span(), p.Value.Span(), "configuration key", func(name string) string { return name }})
	}
}

// origin is where a setting stands.
type origin struct {
	file       *source.File
	key, value source.Span
	what       string                   // a setting is called there
	spell      func(name string) string // there
}

// set takes a setting. A key that is not obeyed gets a warning, one that nobody knows an error, a warning in the
// environment, where it may be meant for another program.
func (c *checker) set(name, value string, to *types.Config, at origin) {
	key := at.what + " '" + at.spell(name) + "'"
	switch s := settingNamed(name); {
	case s != nil:
		if want := s.set(to, value); want != "" {
			c.diags.Errorf(at.file, at.value, "invalid value for '%s': want %s", at.spell(name), want)
		}
	case slices.Contains(deprecatedKeys, name):
		c.diags.Warnf(at.file, at.key, "%s is deprecated and has no effect", key)
	case slices.Contains(acceptedKeys, name):
		c.diags.Warnf(at.file, at.key, "%s has no effect in slope", key)
	case renamedKeys[name] != "":
		c.diags.Errorf(at.file, at.key, "%s has been renamed", key).WithHint("use '%s'", at.spell(renamedKeys[name]))
	default:
		d := c.diags.Errorf(at.file, at.key, "unknown %s", key)
		if at.file != c.file.Source {
			d.Severity = source.Warning
		}
		var obeyed []string
		for _, s := range settings() {
			obeyed = append(obeyed, at.spell(s.name))
		}
		var accepted []string
		for _, k := range acceptedKeys {
			accepted = append(accepted, at.spell(k))
		}
		suggest(d, at.spell(name), append(slices.Clone(obeyed), accepted...))
		if d.Hint == "" {
			d.WithHint("%ss that have an effect: %s", at.what, strings.Join(obeyed, ", "))
		}
	}
}

// configText is a value as text: a word, in quotes or not, or a number.
func configText(value syntax.Expr) string {
	switch v := value.(type) {
	case *syntax.Name:
		return v.Text
	case *syntax.String:
		return v.Value
	case *syntax.Bool:
		return strconv.FormatBool(v.Value)
	case *syntax.Int:
		return strconv.FormatUint(v.Value, 10)
	}
	return ""
}
