package lower

import (
	"fmt"
	"strings"

	"github.com/slopebpf/slope/compiler/ir"
	"github.com/slopebpf/slope/lang/check"
	"github.com/slopebpf/slope/lang/syntax"
	"github.com/slopebpf/slope/lang/types"
)

// keyCache remembers, along one path through an action, the keys that were built and the values that were found.
// An entry dominates the current place: it is added where it is made and forgotten where paths join.
type keyCache struct {
	entries []cachedKey
	touched map[*ir.Map]int // when the map was changed last, by clock
	clock   int
}

type cachedKey struct {
	m     *ir.Map
	typ   string // layout of the key
	text  string
	key   *ir.Value // pointer to the key
	value *ir.Value // pointer to the value, nil when it may be missing
	since int
}

// add remembers a key. The oldest are forgotten when there are many.
func (c *keyCache) add(e cachedKey) {
	const most = 128
	if n := len(c.entries); n >= most {
		c.entries = append([]cachedKey(nil), c.entries[n/2:]...)
	}
	c.entries = append(c.entries, e)
}

func (c *keyCache) save() []cachedKey { return append([]cachedKey(nil), c.entries...) }

// restore goes back to what was known at save, less what was changed since.
func (c *keyCache) restore(saved []cachedKey) {
	c.entries = append([]cachedKey(nil), saved...)
	for i := range c.entries {
		e := &c.entries[i]
		if c.touched[e.m] > e.since {
			e.value = nil
		}
	}
}

// forget forgets the values of all maps.
func (c *keyCache) forget() {
	for i := range c.entries {
		c.entries[i].value = nil
	}
}

// touch forgets the values of a map.
func (c *keyCache) touch(m *ir.Map) {
	if c.touched == nil {
		c.touched = map[*ir.Map]int{}
	}
	c.clock++
	c.touched[m] = c.clock
	for i := range c.entries {
		if c.entries[i].m == m {
			c.entries[i].value = nil
		}
	}
}

func (c *keyCache) find(m *ir.Map, text string) *cachedKey {
	for i := range c.entries {
		if e := &c.entries[i]; e.m == m && e.text == text {
			return e
		}
	}
	return nil
}

// keyText identifies a key within an action; ok is false when it may differ from use to use.
func (f *fn) keyText(keys []syntax.Expr) (string, bool) {
	var b strings.Builder
	ok := true
	for _, k := range keys {
		b.WriteString(syntax.ExprString(k) + ",")
		syntax.Walk(k, func(n syntax.Node) bool {
			switch n := n.(type) {
			case *syntax.Var:
				l := f.info.Locals[n]
				if l == nil || !l.Type.Scalar() || f.vars[l] == nil {
					ok = false
				} else {
					fmt.Fprintf(&b, "v%d,", f.vars[l].ID)
				}
			case *syntax.Name:
				if row := f.info.Vars[n]; row != nil && row.Varies || f.info.Expanded[n] != nil {
					ok = false
				}
			case *syntax.Map, *syntax.Call:
				ok = false
			case *syntax.Unary:
				ok = ok && n.Op != "++" && n.Op != "--"
			}
			return ok
		})
	}
	return b.String(), ok
}

// key builds the key of a map, or finds it.
func (f *fn) key(m *ir.Map, keys []syntax.Expr) *ir.Value {
	return f.keyOf(m, m.Key, keys)
}

func (f *fn) keyOf(m *ir.Map, t *types.Type, keys []syntax.Expr) *ir.Value {
	text, cacheable := f.keyText(keys)
	layout := t.String()
	if cacheable {
		for i := range f.cache.entries {
			e := &f.cache.entries[i]
			if e.text == text && e.typ == layout {
				if e.m != m {
					f.cache.add(cachedKey{m: m, typ: layout, text: text, key: e.key, since: f.cache.clock})
				}
				return e.key
			}
		}
	}
	p := f.Addr(f.Slot("key "+m.Name, t.Memory()))
	if len(keys) == 1 {
		f.into(keys[0], t, p, 0, true)
	} else {
		off := 0
		for i, k := range keys {
			f.into(k, t.Elems[i], p, off, true)
			off += t.Elems[i].Memory()
		}
	}
	if cacheable {
		f.cache.add(cachedKey{m: m, typ: layout, text: text, key: p, since: f.cache.clock})
	}
	return p
}

// lookup finds the value of a keyed map, or goes to missing.
func (f *fn) lookup(m *ir.Map, e *syntax.Map, missing *ir.Block) *ir.Value {
	return f.lookupKey(m, e, f.key(m, e.Index), missing)
}

// lookupKey is lookup with the key at hand: building it twice would evaluate its expressions twice.
func (f *fn) lookupKey(m *ir.Map, e *syntax.Map, key *ir.Value, missing *ir.Block) *ir.Value {
	text, cacheable := f.keyText(e.Index)
	if cacheable {
		if c := f.cache.find(m, text); c != nil && c.value != nil {
			return c.value
		}
	}
	p := f.NullCheck(f.Lookup(m, key), missing)
	if cacheable {
		if c := f.cache.find(m, text); c != nil {
			c.value, c.since = p, f.cache.clock
		}
	}
	return p
}

// readMapScalar reads a scalar from a map; 0 where there is none.
func (f *fn) readMapScalar(m *ir.Map, e *syntax.Map) *ir.Value {
	if m.Value.Kind == types.Aggregate {
		key := f.zeroKey
		if m.Key != nil {
			key = func() *ir.Value { return f.key(m, e.Index) }
		}
		return f.aggregated(m, key())
	}
	if m.Key == nil {
		return f.Load(f.MapValue(m), 0, 8, false)
	}
	if text, ok := f.keyText(e.Index); ok {
		if c := f.cache.find(m, text); c != nil && c.value != nil {
			return f.Load(c.value, 0, 8, false)
		}
	}
	return f.readKey(m, e, f.key(m, e.Index))
}

// readKey reads the scalar under a key; 0 where there is none.
func (f *fn) readKey(m *ir.Map, e *syntax.Map, key *ir.Value) *ir.Value {
	join := f.Block(ir.Scalar)
	missing := f.Block()
	cache := f.cache.save()
	p := f.lookupKey(m, e, key, missing)
	f.Jump(join, f.Load(p, 0, 8, false))
	f.SetBlock(missing)
	f.Jump(join, f.Const(0))
	f.SetBlock(join)
	f.keepKeys(cache)
	return join.Params[0]
}

// keepKeys goes back to the values known at save and keeps keys built since, which dominate.
func (f *fn) keepKeys(saved []cachedKey) {
	now := f.cache.entries
	f.cache.restore(saved)
	for _, e := range now {
		if f.cache.find(e.m, e.text) == nil {
			e.value = nil
			f.cache.entries = append(f.cache.entries, e)
		}
	}
}

// present marks an unkeyed map as assigned.
func (f *fn) present(m *ir.Map) {
	f.Store(f.MapValue(m), m.Value.Memory(), 8, f.Const(1))
}

// store is @m[k] = e.
func (f *fn) store(m *ir.Map, target *syntax.Map, e syntax.Expr) {
	if m.Value.Scalar() {
		f.storeScalar(m, target, f.scalar(e))
		return
	}
	v := f.memory(e, m.Value, true)
	if m.Key == nil {
		f.Copy(f.MapValue(m), 0, v, m.Value.Memory())
		f.present(m)
		return
	}
	f.update(m, f.key(m, target.Index), v)
}

func (f *fn) storeScalar(m *ir.Map, target *syntax.Map, v *ir.Value) {
	if m.Key == nil {
		f.Store(f.MapValue(m), 0, 8, v)
		f.present(m)
		return
	}
	f.storeKey(m, target, f.key(m, target.Index), v)
}

func (f *fn) storeKey(m *ir.Map, target *syntax.Map, key, v *ir.Value) {
	if text, ok := f.keyText(target.Index); ok {
		if c := f.cache.find(m, text); c != nil && c.value != nil {
			f.Store(c.value, 0, 8, v)
			return
		}
	}
	p := f.Addr(f.Slot("value "+m.Name, 8))
	f.Store(p, 0, 8, v)
	f.update(m, key, p)
}

// update stores under a key and counts when the map is full.
func (f *fn) update(m *ir.Map, key, value *ir.Value) {
	r := f.Update(m, key, value, ir.UpdateAny)
	f.cache.touch(m)
	f.when(r, func() { f.count(ir.LossMapFull, m) })
}

// addTo is @m[k] += x for x of any sign, atomically; it returns the old value when it is wanted.
func (f *fn) addTo(m *ir.Map, target *syntax.Map, x *ir.Value, wanted bool) *ir.Value {
	apply := func(p *ir.Value) *ir.Value {
		if wanted {
			return f.FetchAdd(p, 0, x)
		}
		f.Atomic(p, 0, x)
		return nil
	}
	if m.Key == nil {
		old := apply(f.MapValue(m))
		f.present(m)
		return old
	}
	key := f.key(m, target.Index)
	cache := f.cache.save()
	var join *ir.Block
	finish := func(old *ir.Value) {
		if wanted {
			f.Jump(join, old)
		} else {
			f.Jump(join)
		}
	}
	if wanted {
		join = f.Block(ir.Scalar)
	} else {
		join = f.Block()
	}
	missing, lost := f.Block(), f.Block()
	finish(apply(f.lookupKey(m, target, key, missing)))

	f.SetBlock(missing)
	f.cache.restore(cache)
	p := f.Addr(f.Slot("value "+m.Name, 8))
	f.Store(p, 0, 8, x)
	raced, done := f.Block(), f.Block()
	f.If(f.Update(m, key, p, ir.UpdateNoExist), raced, done)
	f.SetBlock(done)
	finish(f.Const(0))

	f.SetBlock(raced) // another CPU was first, or the map is full
	finish(apply(f.NullCheck(f.Lookup(m, key), lost)))
	f.SetBlock(lost)
	f.count(ir.LossMapFull, m)
	finish(f.Const(0))

	f.SetBlock(join)
	f.cache.touch(m)
	f.keepKeys(cache)
	if wanted {
		return join.Params[0]
	}
	return nil
}

// find tells whether a key is in a map, and gives a variable its value if it is.
func (f *fn) find(m *ir.Map, key *ir.Value, l *check.Local) *ir.Value {
	missing, join := f.Block(), f.Block(ir.Scalar)
	first := f.vars[l] == nil && f.slots[l] == nil
	var old, value *ir.Value
	switch {
	case !l.Type.Scalar():
		if first {
			f.Zero(f.local(l), 0, l.Type.Memory())
		}
	case first:
		old = f.Const(0)
	default:
		old = f.number(f.variable(l))
	}
	p := f.NullCheck(f.Lookup(m, key), missing)
	found := []*ir.Value{f.Const(1)}
	if l.Type.Scalar() {
		v := f.Load(p, 0, 8, false)
		if m.Value.Kind == types.Aggregate {
			v = f.aggregated(m, key)
		}
		value = f.Param(join, ir.Scalar)
		found = append(found, v)
	} else {
		f.convert(f.local(l), 0, l.Type, p, m.Value)
	}
	f.Jump(join, found...)
	f.SetBlock(missing)
	if value != nil {
		f.Jump(join, f.Const(0), old)
	} else {
		f.Jump(join, f.Const(0))
	}
	f.SetBlock(join)
	if value != nil {
		f.setVariable(l, value)
	}
	return join.Params[0]
}

// aggregate is @m[k] = count() and the like.
func (f *fn) aggregate(m *ir.Map, target *syntax.Map, call *syntax.Call) {
	agg := f.info.Aggs[call]
	var x *ir.Value
	if len(call.Args) > 0 {
		x = f.scalar(call.Args[0])
	}
	next := f.Block()
	var p *ir.Value
	if m.Key == nil {
		p = f.NullCheck(f.Lookup(m, f.zeroKey()), next)
	} else {
		p = f.lookupOrInit(m, f.key(m, target.Index), func() {
			f.count(ir.LossMapFull, m)
			f.Jump(next)
		})
	}
	f.plain = f.l.plain(m, f.Func)
	f.l.opt.Library.AggLower(agg.Func)(f.site(), agg, p, x)
	f.plain = false
	f.Jump(next)
	f.SetBlock(next)
}

// lookupOrInit finds a value or makes it from zeros; full ends the path where neither works.
func (f *fn) lookupOrInit(m *ir.Map, key *ir.Value, full func()) *ir.Value {
	missing, lost := f.Block(), f.Block()
	found := f.Block(ir.MapValue)
	f.Jump(found, f.NullCheck(f.Lookup(m, key), missing))
	f.SetBlock(missing)
	f.Update(m, key, f.zeros(m.ValueSize), ir.UpdateNoExist)
	f.Jump(found, f.NullCheck(f.Lookup(m, key), lost))
	f.SetBlock(lost)
	full()
	f.SetBlock(found)
	return found.Params[0]
}

func bug(format string, args ...any) {
	panic("BUG: " + fmt.Sprintf(format, args...))
}
