package cli

import (
	"context"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/slopebpf/slope/compiler/ir"
	"github.com/slopebpf/slope/runtime/export"
	"github.com/slopebpf/slope/runtime/judge"
)

// listen serves the metrics, when the script has indicators or it was asked for. stop lets a running scrape end.
func (r *session) listen() (addr string, stop func(), err error) {
	want := r.flags.listen
	if want == "" && len(r.obj.Checked.SLIs) > 0 {
		want = defaultListen
	}
	if want == "" || want == "off" {
		return "", func() {}, nil
	}
	l, err := listenOn(want)
	if err != nil {
		return "", nil, err
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", export.Handler(export.NewCollector(r.scrape)))
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Write([]byte(`<!doctype html><title>slope</title><h1>slope</h1><p><a href="/metrics">metrics</a></p>`))
	})
	srv := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second, BaseContext: func(net.Listener) context.Context { return context.Background() }}
	served := make(chan struct{})
	go func() {
		defer close(served)
		srv.Serve(l)
	}()
	return l.Addr().String(), func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if srv.Shutdown(ctx) != nil {
			srv.Close()
		}
		<-served
	}, nil
}

// scrape reads what one scrape exports.
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
