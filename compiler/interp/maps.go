package interp

import (
	"bytes"
	"slices"
	"sort"

	"github.com/slopebpf/slope/compiler/ir"
)

// Map is the contents of one map. An update of a hash map that is not per CPU replaces the entry, as in the kernel:
// pointers to the old one are dead from then on.
type Map struct {
	of      *ir.Map
	cpus    int
	entries map[string][]*region // by CPU; one for maps that are not per CPU
	recent  []string             // keys, least recently used first
	self    *region              // what stands for the map itself
}

func newMap(of *ir.Map, cpus int) *Map {
	m := &Map{of: of, cpus: 1, entries: map[string][]*region{}, self: newRegion("map "+of.Name, 8)}
	if of.Kind.PerCPU() {
		m.cpus = cpus
	}
	if !of.Kind.Keyed() && of.Kind != ir.RingBuf {
		for i := range of.MaxEntries {
			key := make([]byte, of.KeySize)
			le.PutUint32(key, uint32(i))
			m.insert(key)
		}
		for _, reg := range m.entries[string(make([]byte, of.KeySize))] {
			copy(reg.data, of.Init)
		}
	}
	return m
}

func (m *Map) insert(key []byte) []*region {
	vals := make([]*region, m.cpus)
	for i := range vals {
		vals[i] = &region{name: "a value of " + m.of.Name, data: make([]byte, m.of.ValueSize)}
	}
	m.entries[string(key)] = vals
	m.touch(key)
	return vals
}

func (m *Map) touch(key []byte) {
	if i := slices.Index(m.recent, string(key)); i >= 0 {
		m.recent = slices.Delete(m.recent, i, i+1)
	}
	m.recent = append(m.recent, string(key))
}

// Keys returns the keys in ascending order of their bytes.
func (m *Map) Keys() []string {
	var out []string
	for k := range m.entries {
		out = append(out, k)
	}
	sort.Strings(out)
	return out
}

// Delete removes an entry.
func (m *Map) Delete(key string) { m.drop(key, "deleted") }

// Value returns the value of a key on one CPU, nil without an entry.
func (m *Map) Value(key string, cpu int) []byte {
	if vals := m.entries[key]; vals != nil {
		return vals[min(cpu, len(vals)-1)].data
	}
	return nil
}

func (m *Map) here(vals []*region, cpu int) *region { return vals[min(cpu, len(vals)-1)] }

func (m *Map) lookup(r *run, key []byte) *region {
	vals := m.entries[string(key)]
	if vals == nil {
		return nil
	}
	m.touch(key)
	return m.here(vals, r.m.CPU)
}

func (m *Map) update(r *run, key, val []byte, flags int64) int64 {
	old := m.entries[string(key)]
	switch {
	case m.of.Kind == ir.RingBuf:
		r.fail("update of a ring buffer")
	case !m.of.Kind.Keyed() && old == nil:
		return errTooBig
	case old != nil && flags == ir.UpdateNoExist:
		return errExists
	case old == nil && flags == ir.UpdateExist:
		return errNoEntry
	}
	val = bytes.Clone(val)
	if old != nil && (m.of.Kind.PerCPU() || !m.of.Kind.Keyed()) {
		copy(m.here(old, r.m.CPU).data, val)
		m.touch(key)
		return 0
	}
	if old == nil && len(m.entries) >= m.of.MaxEntries {
		if m.of.Kind != ir.LRUHash && m.of.Kind != ir.LRUPerCPUHash {
			return errTooBig
		}
		m.drop(m.recent[0], "evicted")
	}
	if old != nil {
		m.drop(string(key), "replaced")
	}
	copy(m.here(m.insert(bytes.Clone(key)), r.m.CPU).data, val)
	return 0
}

func (m *Map) remove(key []byte) int64 {
	if m.entries[string(key)] == nil {
		return errNoEntry
	}
	m.drop(string(key), "deleted")
	return 0
}

func (m *Map) drop(key, why string) {
	for _, reg := range m.entries[key] {
		reg.gone = why
	}
	delete(m.entries, key)
	if i := slices.Index(m.recent, key); i >= 0 {
		m.recent = slices.Delete(m.recent, i, i+1)
	}
}

// each copies the entries of a map to an area of a buffer, in the order of the keys.
func (r *run) each(v *ir.Value) {
	e, m := v.Each, r.m.Map(v.Map)
	at := int(le.Uint64(r.read(v.Args[0], 0, 8)))
	buf := r.m.Map(e.Buffer).lookup(r, make([]byte, e.Buffer.KeySize)).data[at:]
	n := int(le.Uint64(buf[ir.EachCount:]))
	for _, k := range m.Keys() {
		if n == e.Entries {
			le.PutUint64(buf[ir.EachMore:], 1)
			break
		}
		entry := buf[ir.EachFirst+n*e.Entry:]
		copy(entry, k)
		if e.Values {
			copy(entry[len(k):], m.here(m.entries[k], r.m.CPU).data)
		}
		n++
	}
	le.PutUint64(buf[ir.EachCount:], uint64(n))
}
