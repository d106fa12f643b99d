package check

import (
	"github.com/slopebpf/slope/lang/syntax"
	"github.com/slopebpf/slope/lang/types"
)

// mapRef resolves a map and checks its keys.
func (c *checker) mapRef(e *syntax.Map) *Map {
	m := c.mapNamed("@"+e.Text, e.Span())
	c.info.Maps[e] = m
	n := len(e.Index)
	if m.Keys < 0 {
		m.Keys, c.changed = n, true
	}
	if m.Keys != n {
		if m.Keys == 0 {
			c.errorf(e, "map '%s' is used with a key here and without one elsewhere", m.Name)
		} else if n == 0 {
			c.errorf(e, "map '%s' is used without a key here and with one elsewhere", m.Name)
		} else if m.Keys == 1 || n == 1 {
			return c.keyed(e, m) // @m[(a,b)] and @m[a,b] are the same
		} else {
			c.errorf(e, "map '%s' has %d keys here and %d elsewhere", m.Name, n, m.Keys)
		}
		return nil
	}
	if n == 0 {
		return m
	}
	return c.keyed(e, m)
}

func (c *checker) keyed(e *syntax.Map, m *Map) *Map {
	key := c.keyType(e.Index)
	if key.Kind == types.Invalid || !c.setKey(m, e, key) {
		return nil
	}
	return m
}

// keyType is the type of one or several key expressions.
func (c *checker) keyType(keys []syntax.Expr) *types.Type {
	elems := make([]*types.Type, len(keys))
	for i, k := range keys {
		elems[i] = normalize(c.value(k))
		if elems[i].Kind == types.Invalid {
			return types.Bad
		}
	}
	if len(elems) == 1 {
		return elems[0]
	}
	return types.TupleOf(elems...)
}

func (c *checker) setKey(m *Map, at syntax.Node, key *types.Type) bool {
	if key.Kind == types.Aggregate {
		c.errorf(at, "value of type '%s' cannot be a key", key)
		return false
	}
	if m.Key == nil {
		m.Key, c.changed = key, true
		return true
	}
	t, ok := types.Unify(m.Key, key)
	if !ok {
		c.errorf(at, "argument mismatch for %s: trying to access with arguments: '%s' when map expects arguments: '%s'", m.Name, key, m.Key)
		return false
	}
	if !t.Equal(m.Key) {
		m.Key, c.changed = t, true
	}
	return true
}

// readMap types the value of a map; that of an aggregation is a number, where it can be one.
func (c *checker) readMap(e *syntax.Map) *types.Type {
	t := c.mapValue(e)
	if t.Kind == types.Aggregate {
		if v := singleValue(t.Agg); v != nil {
			return v
		}
		if c.final {
			c.errorf(e, "a value of type '%s' is no number", t).WithHint("print the whole map: print(@%s)", e.Text)
		}
		return types.Bad
	}
	return t
}

// mapValue is the type of a map's value, whatever it is.
func (c *checker) mapValue(e *syntax.Map) *types.Type {
	m := c.mapRef(e)
	if m == nil {
		return types.Bad
	}
	if m.Value == nil {
		if c.final {
			d := c.errorf(e, "undefined map: %s", m.Name)
			var names []string
			for _, o := range c.prog.Maps {
				if o.Value != nil {
					names = append(names, o.Name)
				}
			}
			suggest(d, m.Name, names)
		}
		return types.Bad
	}
	return m.Value
}
