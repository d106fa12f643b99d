package syntax

import "reflect"

// Walk calls f for n and, when f returns true, for everything below n in the order of the source, the
// insides of if- and block-expressions included. Nodes that are absent are skipped.
func Walk(n Node, f func(Node) bool) {
	if isNil(n) || !f(n) {
		return
	}
	for _, c := range children(n) {
		Walk(c, f)
	}
}

// WalkFile walks every item of a file.
func WalkFile(file *File, f func(Node) bool) {
	for _, item := range file.Items {
		Walk(item, f)
	}
}

// isNil also sees through a nil pointer in an interface.
func isNil(n Node) bool {
	if n == nil {
		return true
	}
	v := reflect.ValueOf(n)
	return v.Kind() == reflect.Pointer && v.IsNil()
}

// nodes collects children of different types.
type nodes []Node

func (l *nodes) add(list ...Node) { *l = append(*l, list...) }

func addAll[N Node](l *nodes, list []N) {
	for _, n := range list {
		l.add(n)
	}
}

// children lists what is directly below a node; absent ones may be nil.
func children(n Node) []Node {
	var l nodes
	switch n := n.(type) {
	case *Probe:
		addAll(&l, n.Attach)
		l.add(n.Pred, n.Body)
	case *SLI:
		l.add(n.Name)
		addAll(&l, n.Labels)
		l.add(n.Doc)
		addMembers(&l, n)
	case *SLO:
		l.add(n.Name, n.Sentence, n.Composite)
		addAll(&l, n.Props)
	case *Sentence:
		l.add(n.Objective, n.SLI)
		addAll(&l, n.Filters)
		l.add(n.Limit, n.Where, n.Window)
		addAll(&l, n.By)
	case *Window:
		l.add(n.Length, n.Zone)
	case *Composite:
		addAll(&l, n.Parts)
	case *Weighted:
		l.add(n.Name, n.Weight)
	case *Property:
		l.add(n.Name, n.Value)
	case *MapDecl:
		l.add(n.Name, n.Type, n.Max)
	case *Config:
		addAll(&l, n.Props)
	case *Import:
		l.add(n.Path)
		addAll(&l, n.Params)
	case *Macro:
		l.add(n.Name)
		addAll(&l, n.Params)
		l.add(n.Body)
	case *Fn:
		l.add(n.Name)
		addAll(&l, n.Params)
		l.add(n.Result, n.Body)
	case *Param:
		l.add(n.Name, n.Type)
	case *Export:
		l.add(n.Map)
		addAll(&l, n.Labels)
		l.add(n.Kind, n.Help)
	case *Test:
		l.add(n.Name, n.Body)
	case IfExpr: // before Stmt: the statement inside lends it its methods
		l.add(n.If)
	case BlockExpr:
		l.add(n.Block)
	case Stmt:
		stmtChildren(&l, n)
	case Expr:
		exprChildren(&l, n)
	case *TypeRef:
		l.add(n.Typeof)
	}
	return l
}

// addMembers merges properties and probes back into the order of the source.
func addMembers(l *nodes, n *SLI) {
	props, probes := n.Props, n.Probes
	for len(props)+len(probes) > 0 {
		if len(probes) == 0 || len(props) > 0 && props[0].Start < probes[0].Start {
			l.add(props[0])
			props = props[1:]
		} else {
			l.add(probes[0])
			probes = probes[1:]
		}
	}
}

func stmtChildren(l *nodes, n Stmt) {
	switch n := n.(type) {
	case *Block:
		addAll(l, n.Stmts)
		l.add(n.Result)
	case *ExprStmt:
		l.add(n.X)
	case *Assign:
		l.add(n.Target, n.Value)
	case *Let:
		l.add(n.Name, n.Type, n.Value)
	case *If:
		l.add(n.Cond, n.Then, n.Else)
	case *Loop:
		l.add(n.Cond, n.Body)
	case *For:
		l.add(n.Var, n.From, n.To, n.Body)
	case *Jump:
		l.add(n.Value)
	case ImportStmt:
		l.add(n.Import)
	}
}

func exprChildren(l *nodes, n Expr) {
	switch n := n.(type) {
	case *Map:
		addAll(l, n.Index)
	case *Unary:
		l.add(n.X)
	case *Binary:
		l.add(n.L, n.R)
	case *Ternary:
		l.add(n.Cond, n.Then, n.Else)
	case *Field:
		l.add(n.X, n.Name)
	case *Index:
		l.add(n.X)
		addAll(l, n.Keys)
	case *Call:
		l.add(n.Name)
		addAll(l, n.Args)
	case *Cast:
		l.add(n.Type, n.X)
	case *TypeExpr:
		l.add(n.Type, n.X)
		addAll(l, n.Fields)
	case *Comptime:
		l.add(n.X)
	case *Tuple:
		addAll(l, n.Elems)
	case *Record:
		for i, name := range n.Names {
			l.add(name, n.Elems[i])
		}
	}
}
