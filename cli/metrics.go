package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"time"

	"github.com/coreos/go-systemd/v22/activation"
	"github.com/prometheus/exporter-toolkit/web"
	"github.com/spf13/pflag"

	"github.com/slopebpf/slope/compiler/ir"
	"github.com/slopebpf/slope/lang/check"
	"github.com/slopebpf/slope/runtime/export"
	"github.com/slopebpf/slope/runtime/judge"
	"github.com/slopebpf/slope/runtime/push"
)

// exportFlags are the flags that say how the metrics leave, besides --listen.
type exportFlags struct {
	config       string
	systemd      bool
	labels       []string
	expire       time.Duration
	otlp         string
	remoteWrite  string
	pushInterval time.Duration
}

func (f *exportFlags) add(fl *pflag.FlagSet) {
	fl.StringVar(&f.config, "web.config.file", "", "serve /metrics with the TLS and the users of this file, as all Prometheus exporters read it")
	fl.BoolVar(&f.systemd, "web.systemd-socket", false, "serve /metrics on the sockets that systemd opened, instead of --listen")
	fl.StringArrayVar(&f.labels, "label", nil, "add a label NAME=VALUE to every series of the metrics; may be repeated")
	fl.DurationVar(&f.expire, "expire", 0, "leave out label sets of an sli that had no event for so long, until there is one")
	fl.StringVar(&f.otlp, "otlp", "", "push the metrics to this URL by OTLP over HTTP")
	fl.StringVar(&f.remoteWrite, "remote-write", "", "push the metrics to this URL by Prometheus remote write")
	fl.DurationVar(&f.pushInterval, "push-interval", 15*time.Second, "how often to push")
}

// check tells what is wrong without a script.
func (f *exportFlags) check(listen string) error {
	for _, l := range f.labels {
		if _, err := export.ParseLabel(l); err != nil {
			return usagef("--label: %w", err)
		}
	}
	for _, u := range []struct{ flag, url string }{{"--otlp", f.otlp}, {"--remote-write", f.remoteWrite}} {
		if u.url != "" {
			if err := push.CheckURL(u.url); err != nil {
				return usagef("%s: %w", u.flag, err)
			}
		}
	}
	switch {
	case f.expire < 0:
		return usagef("invalid --expire %s: want a time, or 0 for never", f.expire)
	case f.pushInterval <= 0:
		return usagef("invalid --push-interval %s: want a time", f.pushInterval)
	case f.systemd && listen != "":
		return usagef("--listen and --web.systemd-socket exclude each other")
	}
	if err := web.Validate(f.config); err != nil {
		return usagef("--web.config.file: %w", err)
	}
	return nil
}

// constant is the labels of --label, against the labels of the script.
func (f *exportFlags) constant(slis []*check.SLI) ([]export.Label, error) {
	var out []export.Label
	for _, l := range f.labels {
		label, err := export.ParseLabel(l)
		if err != nil {
			return nil, usagef("--label: %w", err)
		}
		out = append(out, label)
	}
	if err := export.CheckLabels(out, slis); err != nil {
		return nil, usagef("--label: %w", err)
	}
	return out, nil
}

// scheme is https when the file of --web.config.file asks for TLS.
func (f *exportFlags) scheme() string {
	if text, err := os.ReadFile(f.config); err == nil && bytes.Contains(text, []byte("tls_server_config:")) {
		return "https"
	}
	return "http"
}

// exporter is what serves and pushes the metrics of a run.
type exporter struct {
	run    *session
	expiry *export.Expiry // nil for never
	pusher *push.Pusher   // nil for nothing
}

// listen serves the metrics, when the script has indicators or it was asked for, and pushes them where it was asked
// for. stop lets a running scrape end and pushes the last numbers.
func (r *session) listen() (addr string, stop func(), err error) {
	f := &r.flags.export
	labels, err := f.constant(r.obj.Checked.SLIs)
	if err != nil {
		return "", nil, err
	}
	e := &exporter{run: r}
	if f.expire > 0 {
		e.expiry = export.NewExpiry(f.expire, time.Now)
	}
	c := export.NewCollector(e.scrape, labels...)
	listeners, err := r.listeners()
	if err != nil {
		return "", nil, err
	}
	if e.pusher, err = r.pusher(c); err != nil {
		closeAll(listeners)
		return "", nil, err
	}
	unserve := func() {}
	if len(listeners) > 0 {
		if unserve, err = r.serve(listeners, c); err != nil {
			closeAll(listeners)
			return "", nil, err
		}
		addr = f.scheme() + "://" + listeners[0].Addr().String()
	}
	if e.pusher != nil {
		e.pusher.Start()
	}
	return addr, func() {
		pushed := make(chan struct{})
		go func() { // both may wait for the other side
			defer close(pushed)
			if e.pusher != nil {
				e.pusher.Close()
			}
		}()
		unserve()
		<-pushed
	}, nil
}

// listeners opens where the metrics are served; none when they are not.
func (r *session) listeners() ([]net.Listener, error) {
	want := r.flags.listen
	if r.flags.export.systemd {
		all, err := activation.Listeners()
		all = slices.DeleteFunc(all, func(l net.Listener) bool { return l == nil }) // a socket that is no stream
		if err == nil && len(all) == 0 {
			err = hinted{errors.New("systemd handed over no socket"), "start slope by a .socket unit, or leave --web.systemd-socket away"}
		}
		return all, err
	}
	if want == "" && len(r.obj.Checked.SLIs) > 0 {
		want = defaultListen
	}
	if want == "" || want == "off" {
		return nil, nil
	}
	l, err := listenOn(want)
	if err != nil {
		return nil, err
	}
	return []net.Listener{l}, nil
}

func closeAll(listeners []net.Listener) {
	for _, l := range listeners {
		l.Close()
	}
}

// serve serves the metrics by the toolkit of all Prometheus exporters, which brings TLS and users.
func (r *session) serve(listeners []net.Listener, c *export.Collector) (stop func(), err error) {
	landing, err := web.NewLandingPage(web.LandingConfig{Name: "slope", Version: Version, Profiling: "false",
		Description: "Service-level indicators measured by eBPF",
		Links:       []web.LandingLinks{{Address: "metrics", Text: "Metrics"}}})
	if err != nil {
		return nil, fmt.Errorf("serve /metrics: %w", err)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", export.Handler(c))
	mux.Handle("GET /{$}", landing)
	srv := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second,
		ErrorLog: log.New(io.Discard, "", 0)} // it tells of clients that speak no TLS: nothing for whoever reads a trace
	diag := r.streams.Err
	if r.flags.quiet {
		diag = io.Discard
	}
	logger := slog.New(slog.NewTextHandler(diag, &slog.HandlerOptions{Level: slog.LevelWarn}))
	served := make(chan struct{})
	go func() {
		defer close(served)
		err := web.ServeMultiple(listeners, srv, &web.FlagConfig{WebConfigFile: &r.flags.export.config}, logger)
		if !errors.Is(err, http.ErrServerClosed) {
			logger.Error("/metrics is not served any more", "err", err)
		}
		closeAll(listeners) // where it ended before it served
	}()
	return func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if srv.Shutdown(ctx) != nil {
			srv.Close()
		}
		<-served
	}, nil
}

// scrape reads what one scrape or push exports.
func (e *exporter) scrape() (*export.Scrape, error) {
	s, err := e.run.scrape()
	if err != nil {
		return nil, err
	}
	if e.expiry != nil {
		for i := range s.Indicators {
			in := &s.Indicators[i]
			in.Series = e.expiry.Keep(in.Layout, in.Series)
		}
	}
	if e.pusher != nil {
		s.PushFailures = e.pusher.Failures()
	}
	return s, nil
}

// scrape reads the numbers of the run.
func (r *session) scrape() (*export.Scrape, error) {
	s := &export.Scrape{Values: export.Values{}, Start: r.began, Lost: map[string]uint64{}, Attached: r.obj.Probes(), Version: Version}
	s.Events = r.eng.Events()
	for _, c := range r.obj.IR.Counters { // what can be lost is exported from the start
		if c.Loss != ir.LossOverLimit {
			s.Lost[c.Loss.String()] = 0
		}
	}
	for _, l := range r.obj.Layout.SLIs {
		series, err := r.series(l)
		if err != nil {
			return nil, err
		}
		in := export.Indicator{Layout: l, Scale: r.scale(l.SLI), Series: series, Exemplars: exemplars(l, series)}
		missing, _, _, err := judge.Unknown(r.obj, r.eng, l)
		if err != nil {
			return nil, err
		}
		in.Unknown = &missing
		s.Indicators = append(s.Indicators, in)
		spans, err := r.eng.Spans(l)
		if err != nil {
			return nil, err
		}
		s.Lost[ir.LossSpanFull.String()] += spans.Lost()
	}
	s.Objectives = r.follows.status()
	var err error
	if s.Exported, err = r.exports(); err != nil {
		return nil, err
	}
	losses, err := r.losses()
	if err != nil {
		return nil, err
	}
	for _, l := range losses {
		if l.Cause != ir.LossOverLimit.String() { // those events are in the series "other"
			s.Lost[l.Cause] += l.Count
		}
	}
	for _, m := range r.obj.IR.Maps {
		if !m.Kind.Keyed() {
			continue
		}
		n := uint64(0)
		if err := r.eng.Read(m, func(_, _ []byte) error { n++; return nil }); err != nil {
			return nil, err
		}
		s.Maps = append(s.Maps, export.MapFill{Map: m.Name, Entries: n, Capacity: uint64(m.MaxEntries)})
	}
	programs, err := r.eng.Programs()
	if err != nil {
		return nil, err
	}
	for i, p := range programs {
		if !p.Enabled {
			continue
		}
		s.Probes = append(s.Probes, export.ProbeRuns{Probe: p.Hook + "#" + strconv.Itoa(i+1), Runs: p.Runs, Seconds: p.Time.Seconds()})
	}
	return s, nil
}
