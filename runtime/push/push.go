// Package push sends the metrics to whoever does not scrape: by OTLP/HTTP (otlp.go) and by Prometheus remote write
// (remotewrite.go).
//
// Algorithm: one goroutine gathers the metric families every interval, as a scrape does, and offers them to a goroutine
// of each target, which encodes and sends them and tries again with growing pauses. An interval later newer numbers
// replace those that were not sent: counters are cumulative, so that what a failed push loses is resolution and no event.
// Close gathers once more and gives every target a short time for these last numbers.
//
// Invariants: at most one push of every target is under way and one waits; nothing here holds a lock of the engine's or
// outlives Close; a value that is pushed is the one that a scrape at the same time shows, since both are encoded from
// one gathering. Nothing runs, and no client exists, before New.
//
// This package knows metric families and URLs, not scripts. Start at Pusher.
package push

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	dto "github.com/prometheus/client_model/go"
)

// lastPush is how long the targets may take for the numbers of the end.
const lastPush = 2 * time.Second

// Options say what is pushed where.
type Options struct {
	Gather      func() ([]*dto.MetricFamily, error) // may be called while a scrape gathers
	OTLP        string                              // URL; "" for none
	RemoteWrite string                              // URL; "" for none
	Interval    time.Duration
	Start       time.Time // when counting began
	Host        string
	Version     string
	// Failed is told the first failure of every target, from another goroutine.
	Failed func(url string, err error)
}

// Pusher pushes until it is closed.
type Pusher struct {
	opt     Options
	targets []*target
	client  *http.Client
	cancel  context.CancelFunc
	running sync.WaitGroup
}

// snapshot is the families at one time. It is shared by the targets and only read.
type snapshot struct {
	families []*dto.MetricFamily
	at       time.Time
}

// target is one receiver.
type target struct {
	name     string // in the metrics
	url      *url.URL
	send     func(context.Context, *snapshot) error
	next     chan *snapshot
	failures atomic.Uint64
	told     bool // one goroutine at a time pushes
}

// New makes a pusher; nothing is sent before Start. It is an error when a URL is none, nil when there is no target.
func New(opt Options) (*Pusher, error) {
	p := &Pusher{opt: opt, client: &http.Client{Transport: http.DefaultTransport.(*http.Transport).Clone()}}
	if opt.OTLP != "" {
		u, err := endpoint(opt.OTLP, "/v1/metrics")
		if err != nil {
			return nil, err
		}
		p.add("otlp", u, newOTLP(p.client, u, &p.opt).send)
	}
	if opt.RemoteWrite != "" {
		u, err := endpoint(opt.RemoteWrite, "/api/v1/write")
		if err != nil {
			return nil, err
		}
		r, err := newRemoteWrite(p.client, u, &p.opt)
		if err != nil {
			return nil, err
		}
		p.add("remote_write", u, r.send)
	}
	if len(p.targets) == 0 {
		return nil, nil
	}
	return p, nil
}

// CheckURL tells why a URL is no target.
func CheckURL(s string) error {
	_, err := endpoint(s, "")
	return err
}

// endpoint parses a URL; one without a path gets the usual one.
func endpoint(s, path string) (*url.URL, error) {
	u, err := url.Parse(s)
	if err != nil {
		var e *url.Error // its text has the whole URL, be there a password or not
		if errors.As(err, &e) {
			err = e.Err
		}
		return nil, fmt.Errorf("invalid URL: %w", err)
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("invalid URL '%s': want http://HOST or https://HOST", u.Redacted())
	}
	if u.Path == "" || u.Path == "/" {
		u.Path = path
	}
	return u, nil
}

func (p *Pusher) add(name string, u *url.URL, send func(context.Context, *snapshot) error) {
	p.targets = append(p.targets, &target{name: name, url: u, send: send, next: make(chan *snapshot, 1)})
}

// Start begins to push: at once, so that counters have a beginning, and then every interval.
func (p *Pusher) Start() {
	ctx, cancel := context.WithCancel(context.Background())
	p.cancel = cancel
	for _, t := range p.targets {
		p.running.Go(func() {
			for s := range t.next {
				p.push(ctx, t, s, p.opt.Interval)
			}
		})
	}
	p.running.Go(func() {
		tick := time.NewTicker(p.opt.Interval)
		defer tick.Stop()
		for ctx.Err() == nil {
			p.offer()
			select {
			case <-tick.C:
			case <-ctx.Done():
			}
		}
		for _, t := range p.targets {
			close(t.next)
		}
	})
}

// offer gathers and hands the families to every target, instead of older ones that still wait.
func (p *Pusher) offer() {
	s := p.gather()
	if s == nil {
		return
	}
	for _, t := range p.targets {
		select {
		case <-t.next:
		default:
		}
		t.next <- s // there is room: nobody else sends
	}
}

// gather is nil when the numbers could not be read; every target then missed a push.
func (p *Pusher) gather() *snapshot {
	at := time.Now()
	families, err := p.opt.Gather()
	if err != nil {
		for _, t := range p.targets {
			t.failures.Add(1) // whoever runs the script hears of it from the script
		}
		return nil
	}
	return &snapshot{families, at}
}

// push sends to one target within a time.
func (p *Pusher) push(ctx context.Context, t *target, s *snapshot, within time.Duration) {
	limited, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	err := t.send(limited, s)
	if err == nil || ctx.Err() != nil { // interrupted by the end: the last push follows
		return
	}
	t.failures.Add(1)
	if !t.told && p.opt.Failed != nil {
		t.told = true
		p.opt.Failed(t.url.Redacted(), plain(err))
	}
}

// Failures is how often each target did not get a push.
func (p *Pusher) Failures() map[string]uint64 {
	out := make(map[string]uint64, len(p.targets))
	for _, t := range p.targets {
		out[t.name] = t.failures.Load()
	}
	return out
}

// Close ends what is under way and pushes the last numbers, to all targets at a time.
func (p *Pusher) Close() {
	p.cancel()
	p.running.Wait()
	if s := p.gather(); s != nil {
		for _, t := range p.targets {
			p.running.Go(func() { p.push(context.Background(), t, s, lastPush) })
		}
		p.running.Wait()
	}
	p.client.CloseIdleConnections()
}

// plain makes an error one short line: receivers answer with pages.
func plain(err error) error {
	var e *url.Error
	if errors.As(err, &e) { // the URL is told anyway, without its password
		err = fmt.Errorf("%s: %w", strings.ToLower(e.Op), e.Err)
	}
	s := strings.Join(strings.Fields(err.Error()), " ")
	if r := []rune(s); len(r) > 200 {
		s = string(r[:199]) + "…"
	}
	return errors.New(s)
}
