package cli

import (
	"maps"
	"slices"
	"testing"
)

func TestParameters(t *testing.T) {
	positional, named := parameters([]string{"a", "--x=5", "-1", "--flag", "--", "--e=a=b"})
	if want := []string{"a", "-1", "--"}; !slices.Equal(positional, want) {
		t.Errorf("positional %q, want %q", positional, want)
	}
	if want := map[string]string{"x": "5", "flag": "", "e": "a=b"}; !maps.Equal(named, want) {
		t.Errorf("named %q, want %q", named, want)
	}
}
