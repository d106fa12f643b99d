package governor_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/slopebpf/slope/runtime/governor"
)

// machine is programs with costs, under a governor.
type machine struct {
	g     *governor.Governor
	now   time.Time
	loads []governor.Load
	cost  map[string]float64 // share of all CPUs
	heard []string
	most  float64 // the highest overhead
	above int     // steps in which it really was above the limit
}

func newMachine(limit float64, names ...string) *machine {
	m := &machine{g: governor.New(limit), now: time.Unix(1e9, 0), cost: map[string]float64{}}
	for _, n := range names {
		m.loads = append(m.loads, governor.Load{Key: n, SLI: strings.HasPrefix(n, "sli")})
	}
	return m
}

const (
	cpus     = 4
	measured = 200 * time.Millisecond
)

// seconds lets time pass, and does what the governor says.
func (m *machine) seconds(n int) {
	for range n {
		m.now = m.now.Add(time.Second)
		total := 0.0
		for i := range m.loads {
			if l := &m.loads[i]; !l.Held {
				l.Spent += time.Duration(m.cost[l.Key.(string)] * float64(measured) * cpus)
				total += m.cost[l.Key.(string)]
			}
		}
		if total > m.g.Limit() {
			m.above++
		}
		for _, a := range m.g.Step(m.now, measured, cpus, m.loads) {
			for i := range m.loads {
				if m.loads[i].Key == a.Key {
					m.loads[i].Held = a.Detach
				}
			}
			what := "+"
			if a.Detach {
				what = "-"
			}
			if a.Try {
				what = "?"
			}
			m.heard = append(m.heard, fmt.Sprint(what, a.Key))
		}
		m.most = max(m.most, m.g.Overhead())
	}
}

func (m *machine) is(t *testing.T, want string) {
	t.Helper()
	if got := strings.Join(m.heard, " "); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	m.heard = nil
}

// TestOrder detaches the dearest that no indicator needs, and indicators last.
func TestOrder(t *testing.T) {
	m := newMachine(0.01, "a", "b", "sli1", "sli2", "idle")
	m.cost = map[string]float64{"a": 0.004, "b": 0.001, "sli1": 0.006, "sli2": 0.001}
	m.seconds(10)
	m.is(t, "-a") // although sli1 is dearer; that is enough
	m.cost["sli1"] = 0.02
	m.seconds(10)
	m.is(t, "-b -sli1 +a") // a has been away long enough, and fits
	m.seconds(40)
	m.is(t, "+b")
	m.cost["sli1"] = 0.002
	m.seconds(60)
	m.is(t, "?sli1") // nobody knew that it is cheaper now
	if m.g.Overhead() > 0.01 {
		t.Errorf("overhead %f", m.g.Overhead())
	}
	m.seconds(600)
	m.is(t, "")
}

// TestCalm has a cost just below the limit, and then a short burst above half of it: nothing happens.
func TestCalm(t *testing.T) {
	m := newMachine(0.01, "a", "sli")
	m.cost = map[string]float64{"a": 0.005, "sli": 0.0045}
	m.seconds(100)
	m.cost["sli"] = 0
	m.seconds(100)
	m.cost["a"] = 0.03
	m.seconds(1)
	m.cost["a"] = 0.005
	m.seconds(100)
	m.is(t, "")
}

// TestTries has a program that never fits: it is tried again, less and less often, and the time above the limit is a small
// part.
func TestTries(t *testing.T) {
	m := newMachine(0.01, "hot")
	m.cost["hot"] = 0.2
	m.seconds(10)
	m.is(t, "-hot")
	m.above = 0
	m.seconds(4 * 3600)
	tried := strings.Count(strings.Join(m.heard, " "), "?hot")
	if tried < 8 || tried > 16 || m.above > 6*tried {
		t.Errorf("%d tries, %d seconds above the limit", tried, m.above)
	}
	m.heard = nil
	m.cost["hot"] = 0.001 // the load is gone: the next try stays
	m.seconds(3600)
	m.is(t, "?hot")
}

// TestGone forgets programs that are not there any more, and takes in new ones at what they cost from then on.
func TestGone(t *testing.T) {
	m := newMachine(0.01, "a")
	m.cost["a"] = 0.1
	m.seconds(10)
	m.is(t, "-a")
	m.loads = []governor.Load{{Key: "b", Spent: time.Hour}}
	m.cost["b"] = 0.001
	m.seconds(10)
	m.is(t, "")
	if o := m.g.Overhead(); o < 0.0009 || o > 0.0011 {
		t.Errorf("overhead %f", o)
	}
	m.loads[0].Idle = true // nothing can be done about it
	m.cost["b"] = 0.1
	m.seconds(10)
	m.is(t, "")
}

// TestFailedAction goes on where an action did not work.
func TestFailedAction(t *testing.T) {
	m := newMachine(0.01, "a")
	m.cost["a"] = 0.1
	m.seconds(10)
	m.is(t, "-a")
	m.loads[0].Held = false
	m.seconds(10)
	m.is(t, "-a")
}
