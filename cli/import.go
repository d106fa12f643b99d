package cli

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/slopebpf/slope/lang/source"
	"github.com/slopebpf/slope/lang/syntax"
	"github.com/slopebpf/slope/stdlib"
)

// importFile reads a script that another one imports: by a path from the folder of that one, with the ending .bt, .slo or .h; the
// latter has C definitions only.
// A path without an ending is the name of a module that slope brings. A file in a folder that everybody may write to is refused, as it would run with the rights of whoever runs the script.
func importFile(from, path string) (*syntax.File, error) {
	switch ext := filepath.Ext(path); ext {
	case ".bt", ".slo", ".h":
	case "":
		text, ok := stdlib.Module(path)
		if !ok {
			return nil, fmt.Errorf("there is no module of this name: there are %s; files end in .bt, .slo or .h", strings.Join(stdlib.Modules(), ", "))
		}
		return parseImport(path, text)
	default:
		return nil, fmt.Errorf("got a file with the ending '%s', want .bt, .slo or .h", ext)
	}
	if !filepath.IsAbs(path) {
		path = filepath.Join(filepath.Dir(from), path)
	}
	path = filepath.Clean(path)
	const others = 0o002
	if st, err := os.Stat(filepath.Dir(path)); err == nil && st.Mode().Perm()&others != 0 {
		return nil, fmt.Errorf("everybody may write to the folder %s", filepath.Dir(path))
	}
	text, err := os.ReadFile(path)
	if err != nil {
		var pe *os.PathError
		if errors.As(err, &pe) {
			err = pe.Err
		}
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	return parseImport(path, string(text))
}

func parseImport(name, text string) (*syntax.File, error) {
	file, diags := syntax.Parse(source.NewFile(name, text))
	if diags.HasErrors() {
		var b strings.Builder
		diags.Render(&b, false)
		return nil, errors.New(b.String())
	}
	if filepath.Ext(name) != ".h" {
		return file, nil
	}
	for _, it := range file.Items {
		switch it.(type) {
		case *syntax.CDef, *syntax.Directive:
		default:
			return nil, fmt.Errorf("%s: a header has C definitions only", file.Source.Place(it.Span()))
		}
	}
	return file, nil
}
