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
		"max_cat_bytes", "max_probes", "on_stack_limit", "print_maps_on_exit", "show_debug_info",
		"stack_mode", "str_trunc_trailer", "use_blazesym", "unstable_tseries", "unstable_dw_ustack", "unstable_typeinfo",
		"unstable_import_statement"}
	deprecatedKeys = []string{"symbol_source", "max_type_res_iterations", "unstable_addr", "unstable_import", "unstable_macro", "unstable_map_decl"}
	renamedKeys    = map[string]string{"strlen": "max_strlen", "no_cpp_demangle": "cpp_demangle", "cat_bytes_max": "max_cat_bytes", "map_keys_max": "max_map_keys"}
	obeyedKeys     = []string{"max_map_keys", "max_strlen", missingKey, ringKey}
)

const (
	missingKey = "missing_probes"
	ringKey    = "perf_rb_pages"
)

// config takes a config block. A key that is not obeyed gets a warning, one that nobody knows an error.
func (c *checker) config(n *syntax.Config) {
	for _, p := range n.Props {
		name := strings.TrimPrefix(strings.ToLower(p.Name.Text), "bpftrace_")
		switch {
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

// maxRingPages are 1 GiB.
const maxRingPages = 1 << 18

func (c *checker) configNumber(name string, value syntax.Expr) {
	v, ok := value.(*syntax.Int)
	switch {
	case !ok || v.Value == 0 || v.Value > 1<<26:
		c.errorf(value, "invalid value for '%s': want a positive integer", name)
	case name == ringKey:
		if v.Value&(v.Value-1) != 0 || v.Value > maxRingPages {
			c.errorf(value, "got a ring buffer of %d pages, want a power of two up to %d", v.Value, maxRingPages)
			return
		}
		c.prog.Config.RingSize = int(v.Value) * types.RingPage
	case name == "max_map_keys":
		c.prog.Config.MaxMapKeys = int(v.Value)
	case v.Value > 16384:
		c.errorf(value, "got a string length of %d, want at most 16384", v.Value)
	default:
		c.prog.Config.MaxStrlen = int(v.Value)
	}
}
