package cli

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v2"

	"github.com/slopebpf/slope/bpf"
	"github.com/slopebpf/slope/bpf/bpftest"
)

// deployFile reads a file of deploy.
func deployFile(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile("../deploy/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// manifests are the documents of a YAML file.
func manifests(t *testing.T, name string) (out []map[any]any) {
	t.Helper()
	for _, text := range strings.Split(deployFile(t, name), "\n---\n") {
		var doc map[any]any
		if err := yaml.UnmarshalStrict([]byte(text), &doc); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		out = append(out, doc)
	}
	return out
}

// at walks into a document: keys of mappings, numbers of lists.
func at(t *testing.T, doc any, path ...any) any {
	t.Helper()
	for _, p := range path {
		switch x := doc.(type) {
		case map[any]any:
			doc = x[p]
		case []any:
			doc = x[p.(int)]
		default:
			t.Fatalf("nothing at %v", path)
		}
	}
	return doc
}

// TestDeployYAML: every YAML file parses, without a key given twice.
func TestDeployYAML(t *testing.T) {
	n := 0
	for _, pattern := range []string{"*.yml", "*/*.yml", "*/*.yaml"} {
		files, err := filepath.Glob("../deploy/" + pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			n++
			manifests(t, strings.TrimPrefix(f, "../deploy/"))
		}
	}
	if n < 4 {
		t.Errorf("found %d files", n)
	}
}

// TestDeployPrometheus lets promtool check the scrape configurations.
func TestDeployPrometheus(t *testing.T) {
	promtool, err := exec.LookPath("promtool")
	bpftest.Require(t, err)
	check := func(text string) string {
		path := filepath.Join(t.TempDir(), "prometheus.yml")
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command(promtool, "check", "config", path).CombinedOutput(); err != nil {
			return string(out)
		}
		return ""
	}
	for _, name := range []string{"prometheus.yml", "kubernetes/prometheus.yml"} {
		text := deployFile(t, name)
		switch out := check(text); {
		case strings.Contains(out, "field kubernetes_sd_configs not found"):
			t.Log("this promtool was built without Kubernetes: " + name + " is only parsed")
			continue
		case out != "":
			t.Errorf("%s: %s", name, out)
		}
		native := strings.Replace(text, "# scrape_native_histograms", "scrape_native_histograms", 1)
		if native == text {
			t.Errorf("%s does not tell how to scrape native histograms", name)
		}
		if out := check(native); strings.Contains(out, "field scrape_native_histograms not found") {
			t.Log("this promtool is older than scrape_native_histograms")
		} else if out != "" {
			t.Errorf("%s: %s", name, out)
		}
	}
}

// TestDeploySystemd lets systemd verify the units, with a program where slope will be.
func TestDeploySystemd(t *testing.T) {
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("systemd-analyze is not installed")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	put := func(name, from string) string {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		text := strings.ReplaceAll(deployFile(t, from), "/usr/local/bin/slope", self)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	service := put("slope.service", "systemd/slope.service")
	verify := func(what string, units ...string) {
		out, err := exec.Command(analyze, append([]string{"verify", "--man=no"}, units...)...).CombinedOutput()
		for line := range strings.Lines(string(out)) {
			if strings.Contains(line, "slope") || strings.Contains(line, dir) { // units of this machine may have faults of their own
				t.Errorf("%s: %s", what, line)
			}
		}
		if err != nil && len(out) == 0 {
			t.Errorf("%s: %v", what, err)
		}
	}
	verify("service", service)
	put("slope.service.d/socket.conf", "systemd/socket.conf")
	verify("with a socket", service, put("slope.socket", "systemd/slope.socket"))
}

// setting is a setting of the service.
func setting(t *testing.T, text, name string) string {
	t.Helper()
	m := regexp.MustCompile(`(?m)^` + name + `=(.+)$`).FindStringSubmatch(text)
	if m == nil {
		t.Fatalf("no %s in\n%s", name, text)
	}
	return m[1]
}

// TestDeployCapabilities attaches probes with the capabilities of the service, and no others.
func TestDeployCapabilities(t *testing.T) {
	bpftest.Require(t, bpf.CheckPrivileges())
	setpriv, err := exec.LookPath("setpriv")
	bpftest.Require(t, err)
	unshare, err := exec.LookPath("unshare")
	bpftest.Require(t, err)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	unit := deployFile(t, "systemd/slope.service")
	caps := setting(t, unit, "CapabilityBoundingSet")
	if ambient := setting(t, unit, "AmbientCapabilities"); ambient != caps {
		t.Errorf("ambient capabilities %s, bounding set %s", ambient, caps)
	}
	list := "-all"
	for _, c := range strings.Fields(caps) {
		list += ",+" + strings.ToLower(strings.TrimPrefix(c, "CAP_"))
	}
	// The program must be where anybody may execute it.
	program := filepath.Join(t.TempDir(), "slope")
	b, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(program, b, 0o755); err != nil {
		t.Fatal(err)
	}
	for dir := filepath.Dir(program); dir != os.TempDir() && len(dir) > 1; dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, script := range []string{
		"tracepoint:raw_syscalls:sys_enter { @[comm] = count(); }", "uprobe:libc:malloc { @ = hist(arg0); }", "profile:hz:99 { @[cpu] = count(); }",
		"tracepoint:sched:sched_switch { @[args.next_comm] = count(); }", "tracepoint:syscalls:sys_enter_read { @ = hist(args.count); }",
	} {
		// As on a machine with systemd, tracefs is mounted; only here, in a name space of its own.
		const line = `mountpoint -q /sys/kernel/tracing || mount -t tracefs nodev /sys/kernel/tracing || exit 99
exec "$@"`
		cmd := exec.Command(unshare, "-m", "sh", "-c", line, "sh", setpriv, "--reuid=65534", "--regid=65534", "--clear-groups", "--no-new-privs",
			"--inh-caps="+list, "--ambient-caps="+list, "--bounding-set="+list, program, "--dry-run", "-e", script)
		cmd.Env = append(os.Environ(), beSlope+"=1")
		if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "Attached 1 probe") {
			t.Errorf("%s: %v\n%s", script, err, out)
		}
	}
}

// TestDeployScript compiles the script of the ConfigMap, formatted as slope fmt does, and attaches it.
func TestDeployScript(t *testing.T) {
	var text string
	for _, m := range manifests(t, "kubernetes/slope.yaml") {
		if m["kind"] == "ConfigMap" {
			text = strings.TrimRight(at(t, m, "data", "main.slo").(string), "\n") + "\n"
		}
	}
	path := scriptFile(t, text)
	if r := slope(t, "fmt", "--check", path); r.status != 0 {
		t.Errorf("not formatted\n%s%s", slope(t, "fmt", path).out, r.err)
	}
	for _, command := range []string{"rules", "dashboard", "openslo"} {
		if r := slope(t, command, path); r.status != 0 || r.err != "" {
			t.Errorf("%s: status %d\n%s", command, r.status, r.err)
		}
	}
	script(t, "--dry-run", "--listen", "off", path)
}

// TestDeployFlags: the flags in the files exist, and both ways to run slope are the same but for the socket.
func TestDeployFlags(t *testing.T) {
	lines := map[string][]string{}
	for _, name := range []string{"systemd/slope.service", "systemd/socket.conf"} {
		all := regexp.MustCompile(`(?m)^ExecStart=(.+)$`).FindAllStringSubmatch(deployFile(t, name), -1)
		lines[name] = strings.Fields(all[len(all)-1][1])[1:]
	}
	for _, m := range manifests(t, "kubernetes/slope.yaml") {
		if m["kind"] == "DaemonSet" {
			for _, arg := range at(t, m, "spec", "template", "spec", "containers", 0, "args").([]any) {
				lines["kubernetes/slope.yaml"] = append(lines["kubernetes/slope.yaml"], arg.(string))
			}
		}
	}
	if !slices.Equal(lines["systemd/slope.service"], lines["kubernetes/slope.yaml"]) {
		t.Errorf("they differ: %q", lines)
	}
	root := newRoot(Streams{}, nil)
	for name, words := range lines {
		if len(words) < 4 {
			t.Errorf("%s: %q", name, words)
		}
		for _, w := range words {
			flag, ok := strings.CutPrefix(w, "--")
			switch {
			case !ok:
			case root.Flags().Lookup(flag) != nil:
			default:
				t.Errorf("%s: there is no flag %s", name, w)
			}
		}
	}
}
