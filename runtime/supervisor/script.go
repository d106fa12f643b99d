package supervisor

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"
)

// State is how a script is.
type State string

// The states.
const (
	Starting State = "starting"
	Running  State = "running"
	Ended    State = "ended"  // by itself
	Failed   State = "failed" // waits to be tried again
)

// errStopped tells whoever asked for a text that the script is stopped.
var errStopped = errors.New("the script is stopped")

// States are all states.
func States() []State { return []State{Starting, Running, Ended, Failed} }

// Status is what is known of a script.
type Status struct {
	Name     string    `json:"name"`
	Path     string    `json:"path"`
	State    State     `json:"state"`
	Error    string    `json:"error,omitempty"` // why it failed, or why its new text does not run
	Probes   int       `json:"probes"`          // attached
	Since    time.Time `json:"since"`           // in this state
	Starts   int       `json:"starts"`
	Reloads  int       `json:"reloads"`         // new texts that took over
	Refused  int       `json:"refused_reloads"` // that did not
	Reloaded time.Time `json:"-"`               // when a text took over last, or was started
	Good     bool      `json:"-"`               // the last text runs, or has run to its end
}

// Change is a text that shall take the place of the one that runs. Whoever takes it tells what became of it.
type Change struct {
	Text string
	Told func(error)
}

// Script is one script. Its exported methods are for Options.Run and whoever wants to know of it.
type Script struct {
	Name, Path string

	v       *Supervisor
	found   bool // in a directory
	refused error
	stop    context.CancelFunc
	done    chan struct{}
	changes chan Change

	file     File // for the looking goroutine only, as what follows
	gone     time.Time
	removing bool

	mail chan struct{} // there is something new in what follows

	mu       sync.Mutex
	text     string
	unread   error        // why the file cannot be read
	asked    []chan error // who wants to know what becomes of the text
	attached chan struct{}
	status   Status
}

// Status is the present one.
func (s *Script) Status() Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.status
}

// Changes are the texts that shall take over while the script runs.
func (s *Script) Changes() <-chan Change { return s.changes }

// Attached is told when a script runs, and with each text that took over.
func (s *Script) Attached(probes int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.status.State != Running {
		s.status.State, s.status.Since = Running, time.Now()
		close(s.attached)
	}
	s.status.Probes, s.status.Error, s.status.Good, s.status.Reloaded = probes, "", true, time.Now()
}

func (s *Script) set(state State, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.status.State != state {
		s.status.State, s.status.Since = state, time.Now()
	}
	s.status.Error, s.status.Probes = "", 0
	if err != nil {
		s.status.Error = err.Error()
	}
	switch state {
	case Starting:
		s.status.Starts++
	case Failed:
		s.status.Good = false
	}
}

// look reads the file, and tells the script of a new text.
func (s *Script) look() {
	text, changed, err := s.file.Look()
	if err != nil {
		err = fmt.Errorf("failed to open file '%s': %w", s.Path, err)
	}
	switch {
	case err == nil:
		s.gone = time.Time{}
	case s.gone.IsZero():
		s.gone = time.Now()
	}
	s.mu.Lock()
	was := s.unread
	s.text, s.unread = text, err
	news := err != nil && (was == nil || was.Error() != err.Error())
	running := s.status.State == Running
	if news && running && !s.found {
		s.status.Error = err.Error()
	}
	s.mu.Unlock()
	if news && running && !s.found {
		s.v.opt.Log.Warn("script file cannot be read; the script runs on", "script", s.Name, "err", err)
	}
	if changed || err == nil && was != nil && !running {
		s.post(nil)
	}
}

func (s *Script) isGone() bool {
	return s.found && !s.gone.IsZero() && time.Since(s.gone) > goneAfter
}

// post makes the script take its text; told, if any, gets what becomes of it.
func (s *Script) post(told chan error) {
	if told != nil {
		s.mu.Lock()
		s.asked = append(s.asked, told)
		s.mu.Unlock()
	}
	select {
	case s.mail <- struct{}{}:
	default:
	}
}

// open takes the text, and who asked for it.
func (s *Script) open() (text string, asked []chan error, err error) {
	select {
	case <-s.mail: // what it says is in what is taken now
	default:
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	asked, s.asked = s.asked, nil
	if err = s.refused; err == nil {
		err = s.unread
	}
	return s.text, asked, err
}

func answer(asked []chan error, err error) {
	for _, c := range asked {
		c <- err
	}
}

// run runs the script again and again, until ctx ends.
func (s *Script) run(ctx context.Context) {
	delay, last := s.v.opt.Retry, ""
	for {
		s.set(Starting, nil)
		began := time.Now()
		err := s.attempt(ctx)
		if ctx.Err() != nil {
			if err != nil {
				s.v.opt.Log.Error("script failed at its end", "script", s.Name, "err", err)
			}
			s.set(Ended, err)
			_, asked, _ := s.open()
			answer(asked, errStopped)
			return
		}
		var retry <-chan time.Time
		if err == nil {
			s.set(Ended, nil)
			s.v.opt.Log.Info("script ended", "script", s.Name)
			last = ""
		} else {
			s.set(Failed, err)
			if time.Since(began) > 2*delay {
				delay = s.v.opt.Retry
			}
			if err.Error() != last { // the same one again says nothing
				s.v.opt.Log.Error("script failed", "script", s.Name, "err", err, "retry", delay.String())
			}
			last = err.Error()
			retry = time.After(delay)
			delay = min(2*delay, retryAtMost)
		}
		select {
		case <-ctx.Done():
		case <-retry:
		case <-s.mail:
			delay = s.v.opt.Retry
		}
		if ctx.Err() != nil {
			_, asked, _ := s.open()
			answer(asked, errStopped)
			return
		}
	}
}

// attempt runs the script once, and hands over new texts meanwhile.
func (s *Script) attempt(ctx context.Context) error {
	text, asked, err := s.open()
	if err != nil {
		answer(asked, err)
		return err
	}
	attached, ended := make(chan struct{}), make(chan error, 1)
	s.mu.Lock()
	s.attached = attached
	s.mu.Unlock()
	go func() {
		var err error
		defer func() {
			if p := recover(); p != nil {
				s.v.opt.Log.Error("script panics", "script", s.Name, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
				err = fmt.Errorf("BUG: %v", p)
			}
			ended <- err
		}()
		err = s.v.opt.Run(ctx, s, text)
	}()
	select {
	case err := <-ended:
		answer(asked, err)
		return err
	case <-attached:
		answer(asked, nil)
	}
	s.v.opt.Log.Info("script runs", "script", s.Name, "probes", s.Status().Probes)
	for {
		select {
		case err := <-ended:
			return err
		case <-s.mail:
		}
		text, asked, err := s.open()
		if err != nil {
			answer(asked, err)
			continue
		}
		began := time.Now()
		told := make(chan error, 1)
		select {
		case s.changes <- Change{text, func(err error) { told <- err }}:
			err := <-told
			s.reloaded(began, err)
			answer(asked, err)
		case err := <-ended: // whoever asked gets what becomes of the next start
			s.mu.Lock()
			s.asked = append(asked, s.asked...)
			s.mu.Unlock()
			s.post(nil)
			return err
		}
	}
}

// reloaded notes what became of a new text.
func (s *Script) reloaded(began time.Time, err error) {
	s.mu.Lock()
	if err == nil {
		s.status.Reloads++
	} else {
		s.status.Refused++
		s.status.Good, s.status.Error = false, err.Error()
	}
	probes := s.status.Probes
	s.mu.Unlock()
	if err == nil {
		s.v.opt.Log.Info("script reloaded", "script", s.Name, "probes", probes, "took", time.Since(began).Round(time.Millisecond).String())
	} else {
		s.v.opt.Log.Error("script not reloaded; the one before runs on", "script", s.Name, "err", err)
	}
}
