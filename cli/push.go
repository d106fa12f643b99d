package cli

import (
	"fmt"
	"os"

	"github.com/slopebpf/slope/runtime/export"
	"github.com/slopebpf/slope/runtime/push"
)

// pusher makes what pushes the metrics; nil when that was not asked for.
func (r *session) pusher(c *export.Collector) (*push.Pusher, error) {
	f := &r.flags.export
	if f.otlp == "" && f.remoteWrite == "" {
		return nil, nil
	}
	host, err := os.Hostname()
	if err != nil {
		host = "" // then the pushed series do not tell it
	}
	return push.New(push.Options{Gather: c.Gather, OTLP: f.otlp, RemoteWrite: f.remoteWrite, Interval: f.pushInterval,
		Start: r.began, Host: host, Version: Version,
		Failed: func(url string, err error) {
			if !r.flags.quiet && !r.flags.noWarnings {
				fmt.Fprintf(r.streams.Err, "WARNING: push to %s failed: %v (told once; slope_push_failures_total counts)\n", url, err)
			}
		}})
}
