package stdlib

import (
	"embed"
	"io/fs"
	"strings"
)

//go:embed modules
var modules embed.FS

// Module is the text of a module that scripts import by its name, such as go/http.
func Module(name string) (text string, ok bool) {
	b, err := modules.ReadFile("modules/" + name + ".slo")
	return string(b), err == nil
}

// Modules are the names of all modules.
func Modules() []string {
	var out []string
	_ = fs.WalkDir(modules, "modules", func(path string, d fs.DirEntry, err error) error { // it is in memory: nothing fails
		if name, ok := strings.CutSuffix(path, ".slo"); ok {
			out = append(out, strings.TrimPrefix(name, "modules/"))
		}
		return err
	})
	return out
}
