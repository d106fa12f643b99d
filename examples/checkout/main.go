// Checkout is a small HTTP service with a known mix of latencies and a few errors, for trying slope on.
//
//	checkout [-addr 127.0.0.1:0] [-seed 1] [-for 1m]
//
// It prints the address it listens on and serves /cart and /cart/pay until the time is over or it is interrupted.
// How long a request takes and whether it fails is decided by its number and the seed alone, so that runs compare.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"
)

// Server decides what a request costs.
type Server struct {
	seed uint64
	next atomic.Uint64
}

// serve handles one request and returns the status. It is the function that checkout.slo probes: the route is its
// first argument after the receiver, as a pointer and a length.
//
//go:noinline
func (s *Server) serve(route string) int {
	r := rand.New(rand.NewPCG(s.seed, s.next.Add(1)))
	time.Sleep(latency(r, route))
	if r.IntN(1000) < 3 {
		return http.StatusInternalServerError
	}
	return http.StatusOK
}

// latency draws from a mix: a body around 25 ms (60 ms for payments), a slow tenth, and rare outliers.
func latency(r *rand.Rand, route string) time.Duration {
	base := 25 * time.Millisecond
	if route == "/cart/pay" {
		base = 60 * time.Millisecond
	}
	d := time.Duration(float64(base) * (0.6 + 0.8*r.Float64()))
	switch n := r.IntN(1000); {
	case n < 4:
		d += time.Duration(200+r.IntN(200)) * time.Millisecond
	case n < 100:
		d *= 3
	}
	return d
}

// ServeHTTP answers a request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/cart" && r.URL.Path != "/cart/pay" {
		http.NotFound(w, r)
		return
	}
	w.WriteHeader(s.serve(r.URL.Path))
}

func main() {
	addr := flag.String("addr", "127.0.0.1:0", "address to listen on")
	seed := flag.Uint64("seed", 1, "seed of the latencies")
	length := flag.Duration("for", time.Minute, "how long to serve")
	flag.Parse()
	if err := run(*addr, *seed, *length); err != nil {
		fmt.Fprintln(os.Stderr, "checkout:", err)
		os.Exit(1)
	}
}

func run(addr string, seed uint64, length time.Duration) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, length)
	defer cancel()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	fmt.Println(l.Addr())
	srv := &http.Server{Handler: &Server{seed: seed}, ReadHeaderTimeout: 5 * time.Second}
	go func() {
		<-ctx.Done()
		srv.Close()
	}()
	if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
