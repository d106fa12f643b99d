package cli

import (
	"errors"
	"time"

	"github.com/slopebpf/slope/runtime/export"
)

// carried is what generations before have counted that the kernel's maps of this one do not show: a loss is a loss.
type carried struct {
	losses  []export.Loss
	missing map[string]uint64 // events, by indicator
	events  uint64            // records
}

// succeed takes the place of the generation before, which counts no more and has not been closed.
func (r *session) succeed(old *session) error {
	now := time.Now()
	r.start, r.since = old.start, map[string]time.Time{}
	for _, l := range r.obj.Layout.SLIs {
		if !r.eng.Inherits(l) {
			r.since[l.SLI.Name] = now
		} else if at, ok := old.since[l.SLI.Name]; ok {
			r.since[l.SLI.Name] = at
		}
	}
	err := r.carry(old)
	switch {
	case old.follows == nil:
	case r.follows == nil:
		err = errors.Join(err, old.follows.finish())
	default:
		err = errors.Join(err, r.follows.judge.Continue(old.follows.judge))
	}
	return err
}

// carry keeps what the generation before knew was lost, as far as this one does not show it too: they share maps.
func (r *session) carry(old *session) error {
	r.carried = carried{missing: map[string]uint64{}, events: old.carried.events + old.eng.Events()}
	var before, ours []export.Loss
	for _, read := range []struct {
		of  func() ([]export.Loss, error)
		out *[]export.Loss
	}{{old.losses, &before}, {old.spanLosses, &before}, {r.ownLosses, &ours}, {r.spanLosses, &ours}} {
		l, err := read.of()
		if err != nil {
			return err
		}
		*read.out = addLosses(*read.out, l)
	}
	for _, l := range before {
		for _, o := range ours {
			if sameLoss(l, o) {
				l.Count -= min(l.Count, o.Count)
			}
		}
		if l.Count > 0 {
			r.carried.losses = append(r.carried.losses, l)
		}
	}
	for _, l := range r.obj.Layout.SLIs {
		for _, o := range old.obj.Layout.SLIs {
			if o.SLI.Name != l.SLI.Name || !r.eng.Inherits(l) {
				continue
			}
			was, err := old.missing(o)
			if err != nil {
				return err
			}
			is, err := r.missing(l)
			if err != nil {
				return err
			}
			r.carried.missing[l.SLI.Name] = was - min(was, is)
		}
	}
	return nil
}

func sameLoss(a, b export.Loss) bool {
	return a.Cause == b.Cause && a.Map == b.Map && a.Place == b.Place
}

// addLosses adds up losses of the same cause and place.
func addLosses(a, b []export.Loss) []export.Loss {
	out := append([]export.Loss(nil), a...)
next:
	for _, l := range b {
		for i := range out {
			if sameLoss(out[i], l) {
				out[i].Count += l.Count
				continue next
			}
		}
		out = append(out, l)
	}
	return out
}

// close lets go of a generation.
func (r *session) close() error {
	return errors.Join(r.follows.close(), r.eng.Close(), r.packets.close())
}
