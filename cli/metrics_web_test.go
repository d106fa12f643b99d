package cli

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slopebpf/slope/bpf"
	"github.com/slopebpf/slope/bpf/bpftest"
)

const oneSLI = "sli n { unit = seconds; interval:ms:1 { observe(1); } }"

// certificate makes a key and a certificate that signs itself, for both ends: the files, and the certificate.
func certificate(t *testing.T) (certFile, keyFile string, cert tls.Certificate) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "slope"}, NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	keyPEM := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw})
	if cert, err = tls.X509KeyPair(certPEM, keyPEM); err != nil {
		t.Fatal(err)
	}
	return write(t, "cert.pem", string(certPEM)), write(t, "key.pem", string(keyPEM)), cert
}

// TestWebConfig serves with TLS, client certificates and a user.
func TestWebConfig(t *testing.T) {
	bpftest.Require(t, bpf.CheckPrivileges())
	certFile, keyFile, cert := certificate(t)
	config := write(t, "web.yml", fmt.Sprintf(`
tls_server_config:
  cert_file: %s
  key_file: %s
  client_auth_type: RequireAndVerifyClientCert
  client_ca_file: %s
basic_auth_users:
  me: $2a$04$rmGU3a.jfz23oZ07/55nleda3KjFceJFExjBAt4RJiz88b3JaVN8e
`, certFile, keyFile, certFile))
	p := trace(t, "--listen", "127.0.0.1:0", "--web.config.file", config, "-e", oneSLI)
	host := strings.TrimSuffix(strings.SplitN(p.address(t), "://", 2)[1], "/metrics")
	pool := x509.NewCertPool()
	pool.AddCert(cert.Leaf)
	for _, c := range []struct {
		name, scheme, password string
		certs                  []tls.Certificate
		status                 int // 0 for no answer
	}{
		{"all", "https", "secret", []tls.Certificate{cert}, 200},
		{"wrong password", "https", "wrong", []tls.Certificate{cert}, 401},
		{"no user", "https", "", []tls.Certificate{cert}, 401},
		{"no client certificate", "https", "secret", nil, 0},
		{"no TLS", "http", "secret", nil, 400},
	} {
		req, err := http.NewRequest("GET", c.scheme+"://"+host+"/metrics", nil)
		if err != nil {
			t.Fatal(err)
		}
		if c.password != "" {
			req.SetBasicAuth("me", c.password)
		}
		transport := &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: pool, Certificates: c.certs}}
		resp, err := (&http.Client{Transport: transport}).Do(req)
		if err != nil {
			if c.status != 0 {
				t.Errorf("%s: %v", c.name, err)
			}
			continue
		}
		b, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != c.status || (c.status == 200) != bytes.Contains(b, []byte("slope_sli_events_total{")) {
			t.Errorf("%s: %s\n%s", c.name, resp.Status, b)
		}
	}
	p.signal(t, syscall.SIGTERM)
	if r := p.wait(t); r.status != 0 || strings.Contains(r.err, "TLS") {
		t.Errorf("status %d\n%s", r.status, r.err)
	}
}

// TestSystemdSocket takes over a socket as systemd hands it: descriptor 3, for this process.
func TestSystemdSocket(t *testing.T) {
	bpftest.Require(t, bpf.CheckPrivileges())
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	f, err := l.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	cmd := command(t, "--web.systemd-socket", "-e", oneSLI)
	cmd.Args = append([]string{"sh", "-c", `LISTEN_PID=$$ LISTEN_FDS=1 exec "$0" "$@"`, cmd.Path}, cmd.Args[1:]...)
	if cmd.Path, err = exec.LookPath("sh"); err != nil {
		t.Fatal(err)
	}
	cmd.ExtraFiles = []*os.File{f}
	p := start(t, cmd)
	p.attached(t)
	if want := "http://" + l.Addr().String() + "/metrics"; p.address(t) != want {
		t.Errorf("got %s, want %s", p.address(t), want)
	}
	if text, _ := fetch(t, p.address(t), acceptText); !strings.Contains(text, "slope_sli_events_total{") {
		t.Errorf("got\n%s", text)
	}
	p.signal(t, syscall.SIGTERM)
	p.wait(t)
	binary(t, "", "--web.systemd-socket", "-e", oneSLI).is(t, "no socket", 1, "",
		"slope: systemd handed over no socket\nHINT: start slope by a .socket unit, or leave --web.systemd-socket away\n")
}

// TestLanding has a page at the root and nothing elsewhere.
func TestLanding(t *testing.T) {
	p := trace(t, "--listen", "127.0.0.1:0", "-e", oneSLI)
	root := strings.TrimSuffix(p.address(t), "metrics")
	if page, kind := fetch(t, root, "text/html"); !strings.HasPrefix(kind, "text/html") || !strings.Contains(page, `href="/metrics"`) || strings.Contains(page, "debug/pprof") {
		t.Errorf("%s\n%s", kind, page)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for _, path := range []string{"other", "debug/pprof/"} {
		resp, err := client.Get(root + path)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusNotFound {
			t.Errorf("/%s: %s", path, resp.Status)
		}
	}
}

// TestExportFlags are wrong command lines.
func TestExportFlags(t *testing.T) {
	bad := write(t, "bad.yml", "tls_server_config: {cert_file: /no/such/file, key_file: /no/such/file}\n")
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"--label", "x"}, "--label: invalid label 'x': want NAME=VALUE"},
		{[]string{"--label", "le=1"}, "--label: the label name 'le' is reserved"},
		{[]string{"--label", "a-b=1"}, "--label: invalid label name 'a-b'"},
		{[]string{"--expire", "-1s"}, "invalid --expire -1s"},
		{[]string{"--push-interval", "0"}, "invalid --push-interval 0s"},
		{[]string{"--otlp", "collector:4318"}, "--otlp: invalid URL"},
		{[]string{"--remote-write", "/api"}, "--remote-write: invalid URL '/api': want http://HOST or https://HOST"},
		{[]string{"--listen", "9000", "--web.systemd-socket"}, "--listen and --web.systemd-socket exclude each other"},
		{[]string{"--web.config.file", "/no/such/file"}, "--web.config.file: open /no/such/file"},
		{[]string{"--web.config.file", bad}, "--web.config.file: "},
	} {
		if r := slope(t, append(c.args, "-e", "begin { }")...); r.status != 2 || !strings.Contains(r.err, "slope: "+c.want) {
			t.Errorf("%q: status %d, want 2 and %q; got\n%s%s", c.args, r.status, c.want, r.out, r.err)
		}
	}
	bpftest.Require(t, bpf.CheckPrivileges())
	const labelled = "sli n[cpu] { interval:ms:1 { event(true, cpu); } }"
	for label, want := range map[string]string{"cpu": "the label 'cpu' is one of sli n too", "twice": "the label 'twice' is given twice"} {
		r := slope(t, "--label", label+"=1", "--label", "twice=1", "--label", "x=y", "--label", label+"=2", "-e", labelled)
		if label == "cpu" {
			r = slope(t, "--label", "cpu=1", "-e", labelled)
		}
		if r.status != 2 || !strings.Contains(r.err, "slope: --label: "+want) {
			t.Errorf("--label %s: status %d\n%s", label, r.status, r.err)
		}
	}
}

// TestExpire leaves out a label set that is quiet and shows it again when there is an event.
func TestExpire(t *testing.T) {
	path, comm := ownDD(t)
	fifo := t.TempDir() + "/fifo"
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	one := path + " if=/dev/zero of=/dev/null bs=1 count=1; "
	p := trace(t, "--listen", "127.0.0.1:0", "--expire", "300ms", "-c", "sh -c '"+one+"read x <"+fifo+"; "+one+"exec sleep 100'",
		"-e", `sli n[comm] { tracepoint:syscalls:sys_exit_read /comm == "`+comm+`"/ { event(true, comm); } }
		sli steady[one] { interval:ms:1 { event(true, 1); } }`)
	shown := func(series string) func() bool {
		return func() bool {
			text, _ := fetch(t, p.address(t), acceptText)
			return strings.Contains(text, series)
		}
	}
	const steady = `slope_sli_events_total{one="1",sli="steady"}`
	quiet := `slope_sli_events_total{comm="` + comm + `",sli="n"}`
	bpftest.Eventually(t, 10*time.Second, "both show", func() bool { return shown(quiet)() && shown(steady)() })
	bpftest.Eventually(t, 10*time.Second, "it goes", func() bool { return !shown(quiet)() })
	if !shown(steady)() {
		t.Error("what goes on has expired")
	}
	if err := os.WriteFile(fifo, []byte("go\n"), 0); err != nil {
		t.Fatal(err)
	}
	bpftest.Eventually(t, 10*time.Second, "it returns", shown(quiet))
}
