package query

import (
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/slopebpf/slope/lang/check"
	"github.com/slopebpf/slope/lang/syntax"
	"github.com/slopebpf/slope/lang/types"
	"github.com/slopebpf/slope/runtime/export"
)

// key is the text of what stands between the brackets, as a map with keys of the type prints it.
func (e *Evaluator) key(v export.Values, t *types.Type, keys []syntax.Expr) (string, error) {
	want := []*types.Type{t}
	if tuple(t) {
		if len(keys) == 1 {
			if x, ok := keys[0].(*syntax.Tuple); ok {
				keys = x.Elems
			}
		}
		want = t.Elems
	}
	if len(keys) != len(want) {
		return "", fmt.Errorf("got %s, want %d: %s", export.Counted(uint64(len(keys)), "key"), len(want), t)
	}
	var parts []string
	for i, k := range keys {
		part, err := e.keyPart(v, want[i], k)
		if err != nil {
			return "", err
		}
		parts = append(parts, part)
	}
	return strings.Join(parts, ", "), nil
}

func tuple(t *types.Type) bool { return t.Kind == types.Tuple && t.Names == nil }

// keyPart is one of the keys. Numbers are those that the map holds: exact, and printed as it prints them.
func (e *Evaluator) keyPart(v export.Values, t *types.Type, x syntax.Expr) (string, error) {
	if tuple(t) {
		inner, err := e.key(v, t, []syntax.Expr{x})
		return "(" + inner + ")", err
	}
	number := t.Memory() == 8 && (t.Kind == types.Int || t.Kind == types.Bool || t.Kind == types.Pointer || t.Kind == types.Late)
	word, exact := literal(x)
	if !exact {
		value, err := e.Eval(x)
		switch {
		case err != nil:
			return "", err
		case value.Kind != Number && number && t.Kind != types.Late && t.Enum == nil:
			return "", fmt.Errorf("key '%s' is a text, want %s", syntax.ExprString(x), t)
		case value.Kind != Number:
			return value.Text, nil
		case !whole(value.Num):
			value.Unit = check.NoUnit
			return "", fmt.Errorf("key '%s' is %s, want a literal or a whole number of up to 53 bits", syntax.ExprString(x), value)
		}
		word = uint64(int64(value.Num))
	}
	if !number {
		return "", fmt.Errorf("key '%s' is a number, want %s", syntax.ExprString(x), t)
	}
	return string(v.AppendText(nil, t, binary.LittleEndian.AppendUint64(nil, word))), nil
}

// literal is a number as it is written, which is exact.
func literal(x syntax.Expr) (word uint64, ok bool) {
	switch x := x.(type) {
	case *syntax.Int:
		return x.Value, true
	case *syntax.Unary:
		word, ok = literal(x.X)
		return -word, ok && x.Op == "-"
	case *syntax.Tuple:
		if len(x.Elems) == 1 {
			return literal(x.Elems[0])
		}
	}
	return 0, false
}
