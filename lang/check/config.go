package check

import (
	"slices"
	"strings"

	"github.com/slopebpf/slope/lang/syntax"
	"github.com/slopebpf/slope/lang/types"
)

// The keys of a config block, besides those that config obeys. accepted ones change nothing here: what they ask for is
// how slope works, or concerns bpftrace's own workings.
var (
	acceptedKeys = []string{"cache_user_symbols", "cpp_demangle", "lazy_symbolication", "license", "log_size", "max_bpf_progs",
		"max_probes", "on_stack_limit", "perf_rb_pages", "print_maps_on_exit", "show_debug_info",
		"stack_mode", "str_trunc_trailer", "use_blazesym", "unstable_dw_ustack", "unstable_typeinfo",
		"unstable_import_statement"}
	deprecatedKeys = []string{"symbol_source", "max_type_res_iterations", "unstable_addr", "unstable_import", "unstable_macro", "unstable_map_decl"}
	renamedKeys    = map[string]string{"strlen": "max_strlen", "no_cpp_demangle": "cpp_demangle", "cat_bytes_max": "max_cat_bytes", "map_keys_max": "max_map_keys"}
	obeyedKeys     = []string{"max_cat_bytes", "max_map_keys", "max_strlen", "unstable_tseries", missingKey}
)

const missingKey = "missing_probes"

// config takes a config block. A key that is not obeyed gets a warning, one that nobody knows an error.
func (c *checker) config(n *syntax.Config) {
	for _, p := range n.Props {
		name := strings.TrimPrefix(strings.ToLower(p.Name.Text), "bpftrace_")
		switch {
		case name == "unstable_tseries":
			c.configUnstable(name, p.Value, &c.prog.Config.TSeries)
		case name == missingKey:
			c.configMissing(p.Value)
		case slices.Contains(obeyedKeys, name):
			c.configNumber(name, p.Value)
		case slices.Contains(deprecatedKeys, name):
			c.warnf(p.Name, "configuration key '%s' is deprecated and has no effect", name)
		case slices.Contains(acceptedKeys, name):
			c.warnf(p.Name, "configuration key '%s' has no effect in slope", name)
		case renamedKeys[name] != "":
			c.errorf(p.Name, "configuration key '%s' has been renamed", name).WithHint("use '%s'", renamedKeys[name])
		default:
			d := c.errorf(p.Name, "unknown configuration key '%s'", p.Name.Text)
			suggest(d, name, append(slices.Clone(obeyedKeys), acceptedKeys...))
			if d.Hint == "" {
				d.WithHint("keys that have an effect: %s", strings.Join(obeyedKeys, ", "))
			}
		}
	}
}

// configMissing takes the name of a policy, in quotes or not.
func (c *checker) configMissing(value syntax.Expr) {
	word := ""
	switch v := value.(type) {
	case *syntax.Name:
		word = v.Text
	case *syntax.String:
		word = v.Value
	}
	i := slices.Index(types.MissingPolicies(), word)
	if i < 0 {
		c.errorf(value, "invalid value for '%s': want one of %s", missingKey, strings.Join(types.MissingPolicies(), ", "))
		return
	}
	c.prog.Config.Missing = types.MissingPolicy(i)
}

func (c *checker) configNumber(name string, value syntax.Expr) {
	v, ok := value.(*syntax.Int)
	switch {
	case !ok || v.Value == 0 || v.Value > 1<<26:
		c.errorf(value, "invalid value for '%s': want a positive integer", name)
	case name == "max_cat_bytes":
		c.prog.Config.MaxCat = int(v.Value)
	case name == "max_map_keys":
		c.prog.Config.MaxMapKeys = int(v.Value)
	case v.Value > 16384:
		c.errorf(value, "got a string length of %d, want at most 16384", v.Value)
	default:
		c.prog.Config.MaxStrlen = int(v.Value)
	}
}

// configUnstable takes what using an unstable feature is.
func (c *checker) configUnstable(name string, value syntax.Expr, to *types.Unstable) {
	word := ""
	switch v := value.(type) {
	case *syntax.Name:
		word = v.Text
	case *syntax.String:
		word = v.Value
	}
	words := map[string]types.Unstable{"warn": types.UnstableWarn, "enable": types.UnstableEnable, "error": types.UnstableError}
	state, ok := words[word]
	if !ok {
		c.errorf(value, "invalid value for '%s': want warn, enable or error", name)
		return
	}
	*to = state
}
