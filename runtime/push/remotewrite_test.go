package push

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/exp/api/remote"
	writev2 "github.com/prometheus/client_golang/exp/api/remote/genproto/v2"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

func mustEndpoint(t *testing.T, s string) *url.URL {
	t.Helper()
	u, err := endpoint(s, "/")
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// seriesKey writes a series as OpenMetrics does, with le last.
func seriesKey(name string, labels map[string]string) string {
	var parts []string
	for _, k := range slices.Sorted(maps.Keys(labels)) {
		if k != "le" {
			parts = append(parts, fmt.Sprintf("%s=%q", k, labels[k]))
		}
	}
	if le, ok := labels["le"]; ok {
		parts = append(parts, fmt.Sprintf("le=%q", le))
	}
	if len(parts) == 0 {
		return name
	}
	return name + "{" + strings.Join(parts, ",") + "}"
}

// store receives remote write with the protocol's own types.
type store struct {
	got chan *writev2.Request
}

func (s store) Store(r *http.Request, kind remote.WriteMessageType) (*remote.WriteResponse, error) {
	b, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	q := &writev2.Request{}
	if err := proto.Unmarshal(b, q); err != nil {
		return nil, err
	}
	resp := remote.NewWriteResponse()
	resp.Samples = len(q.Timeseries)
	s.got <- q
	return resp, nil
}

// TestRemoteWrite receives a push in version 2 and compares every value with the scrape.
func TestRemoteWrite(t *testing.T) {
	families, _ := once(t)
	want := scraped(t, families)
	s := store{make(chan *writev2.Request, 4)}
	srv := httptest.NewServer(remote.NewWriteHandler(s, remote.MessageTypes{remote.WriteV2MessageType}))
	defer srv.Close()
	p, err := New(Options{RemoteWrite: srv.URL, Host: "box"})
	if err != nil {
		t.Fatal(err)
	}
	defer p.client.CloseIdleConnections()
	at := time.UnixMilli(1_700_000_000_123)
	if err := p.targets[0].send(context.Background(), &snapshot{families, at}); err != nil {
		t.Fatal(err)
	}
	got, exemplars := map[string]string{}, 0
	numbers, natives := <-s.got, <-s.got
	for _, x := range numbers.Timeseries {
		name, labels := own(t, writev2.DesymbolizeLabels(x.LabelsRefs, numbers.Symbols, nil))
		if len(x.Samples) != 1 || x.Samples[0].Timestamp != at.UnixMilli() {
			t.Fatalf("%s: %v", name, x)
		}
		got[seriesKey(name, labels)] = strconv.FormatFloat(x.Samples[0].Value, 'g', -1, 64)
		exemplars += len(x.Exemplars)
		if m := x.Metadata; strings.HasSuffix(name, "_total") != (m.Type == writev2.Metadata_METRIC_TYPE_COUNTER) || numbers.Symbols[m.HelpRef] == "" {
			t.Errorf("%s: %v", name, m)
		}
		if x.Metadata.Type != writev2.Metadata_METRIC_TYPE_GAUGE && x.CreatedTimestamp != 1_600_000_000_000 {
			t.Errorf("%s: created at %d", name, x.CreatedTimestamp)
		}
	}
	for key, v := range want {
		for _, empty := range []string{`,doc=""`, `,revision=""`} { // a label without a value is none
			key = strings.Replace(key, empty, "", 1)
		}
		a, errA := strconv.ParseFloat(v, 64)
		b, errB := strconv.ParseFloat(got[key], 64)
		if errA != nil || errB != nil || a != b {
			t.Errorf("%s: got %q, the scrape has %s", key, got[key], v)
		}
	}
	if len(got) != len(want) || exemplars != 2 {
		t.Errorf("got %d series with %d exemplars, want %d with 2", len(got), exemplars, len(want))
	}
	nativesAgree(t, natives, want)
}

// own takes the sender's labels away.
func own(t *testing.T, of []string) (string, map[string]string) {
	t.Helper()
	labels := map[string]string{}
	for i := 0; i < len(of); i += 2 {
		if i > 0 && of[i] <= of[i-2] {
			t.Errorf("labels are not in order: %q", of)
		}
		labels[of[i]] = of[i+1]
	}
	name := labels["__name__"]
	if labels["job"] != "slope" || labels["instance"] != "box" || labels["cluster"] != "north" {
		t.Errorf("%s: labels %v", name, labels)
	}
	delete(labels, "__name__")
	delete(labels, "job")
	delete(labels, "instance")
	return name, labels
}

// nativesAgree checks native histograms against the classic buckets of the scrape: at powers of two both end.
func nativesAgree(t *testing.T, q *writev2.Request, want map[string]string) {
	t.Helper()
	if len(q.Timeseries) != 3 {
		t.Errorf("%d native histograms", len(q.Timeseries))
	}
	for _, x := range q.Timeseries {
		name, labels := own(t, writev2.DesymbolizeLabels(x.LabelsRefs, q.Symbols, nil))
		h := x.Histograms[0]
		upto := map[int]uint64{} // by native bucket: how many values lie in it or below
		total, index, at, n := h.GetZeroCountInt(), int32(0), 0, int64(0)
		for _, s := range h.PositiveSpans {
			index += s.Offset
			for range s.Length {
				n += h.PositiveDeltas[at]
				total += uint64(n)
				upto[int(index)] = total
				at, index = at+1, index+1
			}
		}
		if total != h.GetCountInt() || x.Samples != nil || h.Schema != 3 {
			t.Errorf("%s: %v", name, h)
		}
		for e := -20; e <= 6; e++ {
			count := h.GetZeroCountInt()
			for i, c := range upto {
				if i <= e<<3 {
					count = max(count, c)
				}
			}
			labels["le"] = bound(math.Ldexp(1, e))
			if key := seriesKey(name+"_bucket", labels); want[key] != strconv.FormatUint(count, 10) {
				t.Errorf("%s: got %d, the scrape has %s", key, count, want[key])
			}
		}
		delete(labels, "le")
	}
}

// TestVersion1 falls back where version 2 is refused, and where it is swallowed.
func TestVersion1(t *testing.T) {
	families, _ := once(t)
	for _, refuses := range []bool{true, false} {
		var versions []string
		var series int
		unpacked := remote.SnappyDecodeMiddleware(slog.New(slog.DiscardHandler))
		srv := httptest.NewServer(unpacked(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			versions = append(versions, r.Header.Get("X-Prometheus-Remote-Write-Version"))
			if strings.Contains(r.Header.Get("Content-Type"), "v2") {
				if refuses {
					w.WriteHeader(http.StatusUnsupportedMediaType)
				}
				return
			}
			b, err := io.ReadAll(r.Body)
			if err != nil {
				t.Error(err)
			}
			for len(b) > 0 {
				n, kind, size := protowire.ConsumeTag(b)
				if n != 1 || kind != protowire.BytesType {
					t.Fatalf("field %d of kind %d", n, kind)
				}
				b = b[size:]
				_, size = protowire.ConsumeBytes(b)
				b = b[size:]
				series++
			}
			w.WriteHeader(http.StatusNoContent)
		})))
		target := single(t, "remote_write", srv)
		for range 2 {
			if err := target.send(context.Background(), &snapshot{families, time.Now()}); err != nil {
				t.Errorf("refuses %t: %v", refuses, err)
			}
		}
		if got := strings.Join(versions, " "); got != "2.0.0 0.1.0 0.1.0 0.1.0 0.1.0" {
			t.Errorf("refuses %t: versions %s", refuses, got)
		}
		if want := 2 * (len(scraped(t, families)) + 3); series != want {
			t.Errorf("got %d series, want %d", series, want)
		}
		srv.Close()
	}
}

// TestNoNatives is a Prometheus without the feature: it answers 500, which is otherwise worth another try.
func TestNoNatives(t *testing.T) {
	families, _ := once(t)
	requests := 0
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if requests++; requests == 2 {
			http.Error(w, "native histograms are disabled", http.StatusInternalServerError)
			return
		}
		w.Header().Set("X-Prometheus-Remote-Write-Samples-Written", "1")
	}))
	defer srv.Close()
	target := single(t, "remote_write", srv)
	s := &snapshot{families, time.Now()}
	if err := target.send(context.Background(), s); err == nil || !strings.Contains(err.Error(), "takes no native histograms") || requests != 2 {
		t.Errorf("%d requests: %v", requests, err)
	}
	if err := target.send(context.Background(), s); err != nil || requests != 3 {
		t.Errorf("%d requests: %v", requests, err)
	}
}
