package syntax

import (
	"fmt"
	"io"
	"reflect"
	"strings"
)

// Dump prints a tree one node a line, indented by depth: the type of the node, then its own values. Spans
// are left out, so two trees that mean the same print the same.
func Dump(w io.Writer, n Node) { dump(w, n, 0) }

// DumpFile dumps every item of a file.
func DumpFile(w io.Writer, f *File) {
	for _, item := range f.Items {
		Dump(w, item)
	}
}

func dump(w io.Writer, n Node, depth int) {
	if isNil(n) {
		return
	}
	v := reflect.Indirect(reflect.ValueOf(n))
	fmt.Fprintf(w, "%s%s%s\n", strings.Repeat("  ", depth), v.Type().Name(), values(v))
	for _, c := range children(n) {
		dump(w, c, depth+1)
	}
}

// values prints the fields of a node that are not nodes themselves, leaving out zero values.
func values(v reflect.Value) string {
	var b strings.Builder
	for i := range v.NumField() {
		name, field := v.Type().Field(i).Name, v.Field(i)
		if name == "Range" || name == "OpSpan" || field.IsZero() {
			continue
		}
		switch field.Kind() {
		case reflect.String:
			fmt.Fprintf(&b, " %s=%q", name, field.String())
		case reflect.Bool:
			fmt.Fprintf(&b, " %s", name)
		case reflect.Int, reflect.Uint8, reflect.Uint64:
			fmt.Fprintf(&b, " %s=%v", name, field)
		case reflect.Slice:
			switch list := field.Interface().(type) {
			case []string:
				fmt.Fprintf(&b, " %s=%q", name, list)
			case []TypeSuffix:
				fmt.Fprintf(&b, " %s=%s", name, suffixString(list))
			}
		}
	}
	return b.String()
}
