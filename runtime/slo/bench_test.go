package slo

import (
	"fmt"
	"testing"
	"time"
)

// full is a tracker of one objective with so many groups, after a day of events in every slot, and what it is to be given.
func full(b *testing.B, groups int, o Objective) (*Tracker, func(i int) (Instant, []Reading)) {
	tr := tracker(b, o)
	readings := make([]Reading, groups)
	for g := range readings {
		if groups > 1 {
			readings[g].Group = fmt.Sprint("route ", g)
		}
	}
	next := func(i int) (Instant, []Reading) {
		for g := range readings {
			readings[g].Total += uint64(300 + (i*7+g)%400)
			readings[g].Bad += uint64((i + g) % 9 / 8)
		}
		return at(time.Duration(i) * 10 * time.Second), readings
	}
	for i := range 24 * 360 {
		tr.Observe(next(i))
	}
	return tr, next
}

func BenchmarkObserve(b *testing.B) {
	for _, groups := range []int{1, 100} {
		b.Run(fmt.Sprintf("groups=%d", groups), func(b *testing.B) {
			tr, next := full(b, groups, Objective{PPB: 999_000_000, Grouped: groups > 1, Page: DefaultPage(), Ticket: DefaultTicket()})
			i := 24 * 360
			b.ReportAllocs()
			for b.Loop() {
				tr.Observe(next(i))
				i++
			}
		})
	}
}

func BenchmarkStatus(b *testing.B) {
	tr, _ := full(b, 100, Objective{PPB: 999_000_000, Grouped: true, Page: DefaultPage(), Ticket: DefaultTicket()})
	for b.Loop() {
		tr.Status(0)
	}
}

func BenchmarkSave(b *testing.B) {
	for _, groups := range []int{1, 100} {
		b.Run(fmt.Sprintf("groups=%d", groups), func(b *testing.B) {
			tr, _ := full(b, groups, Objective{PPB: 999_000_000, Grouped: groups > 1})
			store := openStore(b, b.TempDir())
			for b.Loop() {
				if err := store.Save(tr); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(len(tr.encode())), "B/file")
		})
	}
}
