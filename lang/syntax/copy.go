package syntax

import "reflect"

// Copy makes a copy of a tree in which edit replaces expressions: what it returns other than nil stands in their place
// and is not looked into. With at every node of the copy gets that range: a copy of a macro's body belongs where the
// macro is used.
func Copy[N any](n N, at *Range, edit func(Expr) Expr) N {
	c := copier{at: at, edit: edit}
	return c.value(reflect.ValueOf(&n).Elem()).Interface().(N)
}

type copier struct {
	at   *Range
	edit func(Expr) Expr
}

var rangeType = reflect.TypeFor[Range]()

func (c *copier) value(v reflect.Value) reflect.Value {
	switch v.Kind() {
	case reflect.Interface:
		if v.IsNil() {
			return v
		}
		out := reflect.New(v.Type()).Elem()
		if e, ok := v.Interface().(Expr); ok && c.edit != nil {
			if r := c.edit(e); r != nil && reflect.TypeOf(r).AssignableTo(v.Type()) {
				out.Set(reflect.ValueOf(r))
				return out
			}
		}
		out.Set(c.value(v.Elem()))
		return out
	case reflect.Pointer:
		if v.IsNil() {
			return v
		}
		if e, ok := v.Interface().(*Var); ok && c.edit != nil { // the variable of a let or a loop
			if r := c.edit(e); r != nil && reflect.TypeOf(r) == v.Type() {
				return reflect.ValueOf(r)
			}
		}
		out := reflect.New(v.Type().Elem())
		out.Elem().Set(c.value(v.Elem()))
		return out
	case reflect.Struct:
		if v.Type() == rangeType {
			if c.at != nil {
				return reflect.ValueOf(*c.at)
			}
			return v
		}
		out := reflect.New(v.Type()).Elem()
		out.Set(v)
		for i := range v.NumField() {
			if out.Field(i).CanSet() {
				out.Field(i).Set(c.value(v.Field(i)))
			}
		}
		return out
	case reflect.Slice:
		if v.IsNil() {
			return v
		}
		out := reflect.MakeSlice(v.Type(), v.Len(), v.Len())
		for i := range v.Len() {
			out.Index(i).Set(c.value(v.Index(i)))
		}
		return out
	}
	return v
}
