package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/slopebpf/slope/runtime/engine"
)

// Ring is how records flow through the ring buffer when a program emits them without a pause.
type Ring struct {
	Events    int     // that fired
	Records   int     // that were read
	PerSecond float64 // records
	Lost      float64 // share of the events
	Nanos     float64 // of one event, all included
}

// counter takes records.
type counter struct{ n int }

// Handle implements engine.Events.
func (c *counter) Handle([]byte) error {
	c.n++
	return nil
}

// ring lets the trigger emit records for a while.
func (k *kernel) ring(opt options) (Ring, error) {
	s, err := k.load(raw + ` { printf("%d %s %d\n", pid, comm, arg0); }`)
	if err != nil {
		return Ring{}, err
	}
	defer s.Close()
	var got counter
	var out Ring
	var took time.Duration
	done := make(chan error, 1)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	err = s.engine.Run(ctx, engine.Hooks{Events: &got, Exited: func() bool { return false }, Attached: func() {
		go func() {
			defer cancel()
			begun := time.Now()
			for took < opt.flow {
				if _, err := k.triggers[steady].fire(); err != nil {
					done <- err
					return
				}
				out.Events += batch
				took = time.Since(begun)
			}
			done <- nil
		}()
	}})
	if err = errors.Join(err, <-done); err != nil {
		return out, fmt.Errorf("measure the ring buffer: %w", err)
	}
	out.Records = got.n
	out.PerSecond = float64(got.n) / took.Seconds()
	out.Lost = 1 - float64(got.n)/float64(out.Events)
	out.Nanos = float64(took.Nanoseconds()) / float64(out.Events)
	return out, nil
}
