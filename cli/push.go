package cli

import (
	"os"

	"github.com/slopebpf/slope/runtime/push"
)

// newPusher makes what pushes the metrics, where that was asked for.
func (e *exporter) newPusher() (err error) {
	f := e.flags
	if f.otlp == "" && f.remoteWrite == "" {
		return nil
	}
	host, err := os.Hostname()
	if err != nil {
		host = "" // then the pushed series do not tell it
	}
	e.pusher, err = push.New(push.Options{Gather: e.gather.Gather, OTLP: f.otlp, RemoteWrite: f.remoteWrite, Interval: f.pushInterval,
		Start: e.start, Host: host, Version: Version, Failed: e.pushed})
	return err
}
