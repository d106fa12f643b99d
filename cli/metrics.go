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
	prom "github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/exporter-toolkit/web"
	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"github.com/slopebpf/slope/bpf"
	"github.com/slopebpf/slope/compiler/ir"
	"github.com/slopebpf/slope/lang/check"
	"github.com/slopebpf/slope/runtime/export"
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

// exporter serves and pushes the metrics of a process.
type exporter struct {
	flags    *exportFlags
	gather   prom.Gatherer
	start    time.Time
	handlers map[string]http.Handler // besides /metrics, by pattern
	logger   *slog.Logger            // of the server
	pushed   func(url string, err error)
	pusher   *push.Pusher // nil for nothing
}

// run serves on listeners, and pushes where it was asked for. stop lets a running scrape end and pushes the last numbers.
func (e *exporter) run(listeners []net.Listener) (addr string, stop func(), err error) {
	if err = e.newPusher(); err != nil {
		closeAll(listeners)
		return "", nil, err
	}
	unserve := func() {}
	if len(listeners) > 0 {
		if unserve, err = e.serve(listeners); err != nil {
			closeAll(listeners)
			return "", nil, err
		}
		addr = e.flags.scheme() + "://" + listeners[0].Addr().String()
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

// failures are the pushes that failed, by target; nil where nothing is pushed.
func (e *exporter) failures() map[string]uint64 {
	if e.pusher == nil {
		return nil
	}
	return e.pusher.Failures()
}

// listeners opens where the metrics are served; none when they are not.
func (f *exportFlags) listeners(address string) ([]net.Listener, error) {
	if f.systemd {
		all, err := activation.Listeners()
		all = slices.DeleteFunc(all, func(l net.Listener) bool { return l == nil }) // a socket that is no stream
		if err == nil && len(all) == 0 {
			err = hinted{errors.New("systemd handed over no socket"), "start slope by a .socket unit, or leave --web.systemd-socket away"}
		}
		return all, err
	}
	if address == "" || address == "off" {
		return nil, nil
	}
	l, err := listenOn(address)
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
func (e *exporter) serve(listeners []net.Listener) (stop func(), err error) {
	landing, err := web.NewLandingPage(web.LandingConfig{Name: "slope", Version: Version, Profiling: "false",
		Description: "Service-level indicators measured by eBPF",
		Links:       []web.LandingLinks{{Address: "metrics", Text: "Metrics"}}})
	if err != nil {
		return nil, fmt.Errorf("serve /metrics: %w", err)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", export.Handler(e.gather))
	mux.Handle("GET /{$}", landing)
	for pattern, h := range e.handlers {
		mux.Handle(pattern, h)
	}
	srv := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second,
		ErrorLog: log.New(io.Discard, "", 0)} // it tells of clients that speak no TLS: nothing for whoever reads a trace
	served := make(chan struct{})
	go func() {
		defer close(served)
		err := web.ServeMultiple(listeners, srv, &web.FlagConfig{WebConfigFile: &e.flags.config}, e.logger)
		if !errors.Is(err, http.ErrServerClosed) {
			e.logger.Error("/metrics is not served any more", "err", err)
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

// listenOn opens the address of the metrics.
func listenOn(addr string) (net.Listener, error) {
	if _, err := strconv.ParseUint(addr, 10, 16); err == nil {
		addr = "127.0.0.1:" + addr
	}
	l, err := net.Listen("tcp", addr)
	if errors.Is(err, unix.EADDRINUSE) {
		return nil, hinted{fmt.Errorf("the address %s for /metrics is in use", addr),
			"choose another with --listen 127.0.0.1:PORT, or --listen off for none"}
	}
	if err != nil {
		return nil, fmt.Errorf("listen for /metrics: %w", err)
	}
	return l, nil
}

// listen serves the metrics, when the script has indicators or it was asked for, and pushes them where it was asked for.
func (r *runner) listen(keep *keeper) (addr string, stop func(), err error) {
	f := &r.flags.export
	checked := r.current.Load().obj.Checked
	labels, err := f.constant(checked.SLIs)
	if err != nil {
		return "", nil, err
	}
	want := r.flags.listen
	if want == "" && len(checked.SLIs) > 0 {
		want = defaultListen
	}
	listeners, err := f.listeners(want)
	if err != nil {
		return "", nil, err
	}
	diag := r.streams.Err
	if r.flags.quiet {
		diag = io.Discard
	}
	e := &exporter{flags: f, start: r.began, logger: slog.New(slog.NewTextHandler(diag, &slog.HandlerOptions{Level: slog.LevelWarn})),
		pushed: func(url string, err error) {
			if !r.flags.quiet && !r.flags.noWarnings {
				fmt.Fprintf(r.streams.Err, "WARNING: push to %s failed: %v (told once; slope_push_failures_total counts)\n", url, err)
			}
		}}
	script := export.NewCollector(func() (*export.Scrape, error) {
		s, err := r.scrape()
		if err == nil {
			s.PushFailures = e.failures()
		}
		return s, err
	}, labels...)
	e.gather = script
	if keep != nil {
		own := ownMetrics(labels, keep)
		e.gather = prom.GathererFunc(func() ([]*dto.MetricFamily, error) {
			families, err := own()
			if err != nil {
				return nil, err
			}
			of, err := script.Gather()
			merged, _ := export.Merge(families, of)
			return merged, err
		})
	}
	return e.run(listeners)
}

// keepExpiry begins to watch for label sets that are quiet, where they are to be left out.
func (r *runner) keepExpiry() {
	if after := r.flags.export.expire; after > 0 {
		r.expiry = export.NewExpiry(after, time.Now)
	}
}

// scrape reads what one scrape or push exports. The generation that counts stays so meanwhile.
func (r *runner) scrape() (*export.Scrape, error) {
	r.reading.RLock()
	defer r.reading.RUnlock()
	s, err := r.current.Load().scrape()
	if err != nil {
		return nil, err
	}
	if r.partly && !bpf.StatsEnabled() {
		s.Probes = nil // they are of a part of the time
	}
	if r.expiry != nil {
		for i := range s.Indicators {
			in := &s.Indicators[i]
			in.Series = r.expiry.Keep(in.Layout, in.Series)
		}
	}
	return s, nil
}

// scrape reads the numbers of the run.
func (r *session) scrape() (*export.Scrape, error) {
	s := &export.Scrape{Values: export.Values{Names: r.values.Names}, Start: r.began, Lost: map[string]uint64{}, Attached: r.eng.Attached(), Version: Version}
	s.Events = r.eng.Events() + r.carried.events
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
		missing, err := r.missing(l)
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
