package cli

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"github.com/slopebpf/slope/runtime/supervisor"
)

// watch sends the texts of the script's file that shall take over: each new one, and on SIGHUP the present one.
func (r *runner) watch(texts chan<- newText) (stop func()) {
	file := &supervisor.File{Path: r.file}
	if text, _, err := file.Look(); err == nil && text != r.text {
		file = &supervisor.File{Path: r.file} // it has changed since it was compiled
	}
	watcher := supervisor.NewWatcher(func() []string { return []string{r.file} })
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	done := make(chan struct{})
	var watching sync.WaitGroup
	watching.Go(func() {
		var last error
		for {
			asked := false
			select {
			case <-done:
				return
			case <-watcher.Looks():
			case <-hangups:
				asked = true
			}
			text, changed, err := file.Look()
			if err != nil {
				if asked || last == nil || err.Error() != last.Error() {
					r.keepsOn(fmt.Errorf("failed to open file '%s': %w", r.file, err))
				}
				last = err
				continue
			}
			last = nil
			if !changed && !asked {
				continue
			}
			told := make(chan error, 1)
			select {
			case texts <- newText{text, func(err error) { told <- err }}:
			case <-done:
				return
			}
			if err := <-told; err != nil && !errors.Is(err, errEnded) {
				r.keepsOn(err)
			}
		}
	})
	return func() {
		close(done)
		signal.Stop(hangups)
		watching.Wait()
		watcher.Close()
	}
}

// keepsOn tells why the script was not replaced. The command line has its own way to tell of errors.
func (r *runner) keepsOn(err error) {
	r.streams.report(err)
	fmt.Fprintf(r.streams.Err, "slope: %s is not reloaded: the program that runs goes on\n", r.file)
}
