package cli

import (
	"bufio"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/slopebpf/slope/bpf"
	"github.com/slopebpf/slope/bpf/bpftest"
)

// goServer answers requests in goroutines whose stacks grow: /?kind=K&depth=N calls itself N deep through frames of a kind,
// in a goroutine that begins with a small stack, and /counts tells the calls of each kind and the sum of what they returned.
// Collections at random shrink the stacks again.
func goServer() string {
	return goServerBase + padded("medium", 1, 60) + padded("large", 2, 1200)
}

// padded is the source of a function of goServer whose frame is so many words wide.
func padded(name string, kind, words int) string {
	return fmt.Sprintf(`
//go:noinline
func %[1]s(n int) int {
	var pad [%[3]d]int
	calls[%[2]d].Add(1)
	got := n
	for i := range pad {
		pad[i] = n
	}
	if n > 0 {
		got = %[1]s(n-1) + pad[n%%len(pad)] - n + 1
	}
	sums[%[2]d].Add(int64(got))
	return got
}
`, name, kind, words)
}

const goServerBase = `package main

import (
	"fmt"
	"net"
	"net/http"
	"runtime"
	"strconv"
	"sync/atomic"
)

var calls, sums [3]atomic.Int64

//go:noinline
func small(n int) int {
	calls[0].Add(1)
	got := n
	if n > 0 {
		got = small(n-1) + 1
	}
	sums[0].Add(int64(got))
	return got
}

func main() {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	fmt.Println(l.Addr())
	http.HandleFunc("/counts", func(w http.ResponseWriter, r *http.Request) {
		for i := range calls {
			fmt.Fprintln(w, calls[i].Load(), sums[i].Load())
		}
	})
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		depth, _ := strconv.Atoi(r.FormValue("depth"))
		done := make(chan int)
		go func() {
			switch r.FormValue("kind") {
			case "0":
				done <- small(depth)
			case "1":
				done <- medium(depth)
			default:
				done <- large(depth)
			}
		}()
		if depth%16 == 0 {
			runtime.GC()
		}
		fmt.Fprint(w, <-done)
	})
	panic(http.Serve(l, nil))
}
`

// load sends so many requests from each of its clients, or fewer when stop is closed, and checks each answer.
func load(t *testing.T, address string, seed uint64, requests int, stop <-chan struct{}) (wait func() int) {
	const clients = 4
	var all sync.WaitGroup
	var mu sync.Mutex
	sent := 0
	for i := range clients {
		r := rand.New(rand.NewPCG(seed, uint64(i)))
		all.Go(func() {
			client := &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{DisableKeepAlives: r.IntN(2) == 0}}
			defer client.CloseIdleConnections()
			for range requests {
				select {
				case <-stop:
					return
				default:
				}
				kind := r.IntN(3)
				depth := r.IntN([]int{2000, 400, 40}[kind])
				answer, err := get(client, fmt.Sprintf("http://%s/?kind=%d&depth=%d", address, kind, depth))
				if want := fmt.Sprint(depth); err != nil || answer != want {
					t.Errorf("kind %d, depth %d: got %q, %v", kind, depth, answer, err)
					return
				}
				mu.Lock()
				sent++
				mu.Unlock()
			}
		})
	}
	return func() int {
		all.Wait()
		return sent
	}
}

func get(client *http.Client, url string) (string, error) {
	r, err := client.Get(url)
	if err != nil {
		return "", err
	}
	defer r.Body.Close()
	text, err := io.ReadAll(r.Body)
	return string(text), err
}

// TestGoSoak probes the calls and returns of a busy Go server whose goroutines' stacks grow and shrink. Every answer is right,
// probes that come and go under load do no harm, and what they count while the server is asked is what it counts itself.
func TestGoSoak(t *testing.T) {
	bpftest.Require(t, bpf.CheckPrivileges())
	length, seed := 3*time.Second, uint64(1)
	if soak := os.Getenv("SLOPE_SOAK"); soak != "" {
		length, seed = 5*time.Minute, uint64(time.Now().UnixNano())
		if d, err := time.ParseDuration(soak); err == nil {
			length = d
		}
	}
	t.Logf("seed %d", seed)
	bin := build(t, goServer())
	cmd := exec.Command(bin)
	cmd.Env = append(os.Environ(), "GOGC=20")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	server := start(t, cmd)
	address, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("%v\n%s", err, server.err.String())
	}
	address = strings.TrimSpace(address)
	alive := func() {
		t.Helper()
		select {
		case <-server.done:
			t.Fatalf("the server ended\n%s", server.err.String())
		default:
		}
	}
	names := []string{"small", "medium", "large"}
	var text strings.Builder
	for _, n := range names {
		fmt.Fprintf(&text, "uprobe:%[1]s:main.%[2]s { @calls[%[3]q] = count(); } goret:%[1]s:main.%[2]s { @returns[%[3]q] = count(); @sum[%[3]q] = sum(retval); }\n", bin, n, n)
	}
	counts := func() (all [3][2]int) {
		t.Helper()
		answer, err := get(http.DefaultClient, "http://"+address+"/counts")
		if err != nil {
			t.Fatal(err)
		}
		for i, line := range lines(strings.TrimSpace(answer)) {
			if _, err := fmt.Sscan(line, &all[i][0], &all[i][1]); err != nil {
				t.Fatal(err)
			}
		}
		return all
	}
	defer http.DefaultClient.CloseIdleConnections()

	r := rand.New(rand.NewPCG(seed, 99))
	for round, began := 0, time.Now(); time.Since(began) < length; round++ {
		stop := make(chan struct{})
		wait := load(t, address, seed+uint64(round), math.MaxInt, stop)
		for range 2 { // they come and go
			p := trace(t, "-e", text.String())
			calm := time.NewTimer(time.Duration(r.IntN(200)) * time.Millisecond)
			<-calm.C
			p.signal(t, syscall.SIGINT)
			if got := p.wait(t); got.status != 0 {
				t.Errorf("status %d\n%s%s", got.status, got.out, got.err)
			}
			alive()
		}
		close(stop)
		wait()

		before := counts()
		p := trace(t, "-e", text.String())
		sent := load(t, address, seed+1000+uint64(round), 15, nil)()
		after := counts()
		p.signal(t, syscall.SIGINT)
		got := p.wait(t)
		for i, n := range names {
			calls, sum := after[i][0]-before[i][0], after[i][1]-before[i][1]
			want(t, got, fmt.Sprintf("@calls[%s]: %d", n, calls), fmt.Sprintf("@returns[%s]: %d", n, calls), fmt.Sprintf("@sum[%s]: %d", n, sum))
		}
		alive()
		t.Logf("round %d: %d requests, counts %v", round, sent, after)
		if t.Failed() {
			return
		}
	}
}
