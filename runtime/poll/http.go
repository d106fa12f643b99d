package poll

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// patience bounds one request: a service that hangs must not hold up the others for long.
const patience = 2 * time.Second

// CheckURL says what is wrong with the address of an endpoint: only loopback is read.
func CheckURL(raw string) error {
	u, err := url.Parse(raw)
	if err != nil || u.Scheme != "http" || u.Hostname() == "" {
		return fmt.Errorf("got '%s', want the address of an endpoint such as http://127.0.0.1:9100/metrics", raw)
	}
	if ip := net.ParseIP(u.Hostname()); u.Hostname() != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return fmt.Errorf("got the host '%s', want one on loopback: 127.0.0.1, [::1] or localhost", u.Hostname())
	}
	return nil
}

// get reads a document. Connections are made to loopback addresses only, wherever names or redirects lead.
func get(raw, accept string) ([]byte, error) {
	if err := CheckURL(raw); err != nil {
		return nil, err
	}
	transport := &http.Transport{DisableKeepAlives: true, DialContext: (&net.Dialer{Timeout: patience}).DialContext}
	client := &http.Client{Timeout: patience, Transport: transport,
		CheckRedirect: func(r *http.Request, via []*http.Request) error {
			if len(via) > 3 {
				return errors.New("too many redirects")
			}
			return CheckURL(r.URL.String())
		}}
	req, err := http.NewRequest(http.MethodGet, raw, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", accept)
	res, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("get %s: %s", raw, res.Status)
	}
	const limit = 16 * maxFile
	body, err := io.ReadAll(io.LimitReader(res.Body, limit+1))
	if err != nil {
		return nil, fmt.Errorf("get %s: %w", raw, err)
	}
	if len(body) > limit {
		return nil, fmt.Errorf("get %s: more than %d bytes", raw, limit)
	}
	return body, nil
}

// Series selects series of one metric by labels.
type Series struct {
	Name   string
	Labels map[string]string
}

// ParseSeries reads name{label="value", …}; values may stand in single quotes.
func ParseSeries(s string) (Series, error) {
	out := Series{Labels: map[string]string{}}
	name, rest, labelled := strings.Cut(strings.TrimSpace(s), "{")
	if out.Name = strings.TrimSpace(name); !model.LegacyValidation.IsValidMetricName(out.Name) {
		return out, fmt.Errorf("got '%s', want the name of a metric, with labels in braces", s)
	}
	if !labelled {
		return out, nil
	}
	rest, closed := strings.CutSuffix(strings.TrimSpace(rest), "}")
	if !closed {
		return out, fmt.Errorf("got '%s', which has no '}'", s)
	}
	for rest = strings.TrimSpace(rest); rest != ""; {
		label, value, ok := strings.Cut(rest, "=")
		label, value = strings.TrimSpace(label), strings.TrimSpace(value)
		if !ok || !model.LegacyValidation.IsValidLabelName(label) || value == "" || value[0] != '"' && value[0] != '\'' {
			return out, fmt.Errorf("got '%s', want labels such as {code=\"200\"}", s)
		}
		text, after, ok := strings.Cut(value[1:], value[:1])
		if !ok {
			return out, fmt.Errorf("got '%s', in which a value does not end", s)
		}
		out.Labels[label] = text
		rest = strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(after), ","))
	}
	return out, nil
}

// Prometheus adds up the series of an exposition that match, times scale. Of a histogram or summary, name_count and
// name_sum can be asked for.
func Prometheus(address, series string, scale int64) (uint64, error) {
	want, err := ParseSeries(series)
	if err != nil {
		return 0, err
	}
	body, err := get(address, string(expfmt.NewFormat(expfmt.TypeTextPlain)))
	if err != nil {
		return 0, err
	}
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(bytes.NewReader(body))
	if err != nil {
		return 0, fmt.Errorf("read %s: %w", address, err)
	}
	sum, found := 0.0, false
	for _, part := range []string{"", "_count", "_sum"} {
		name, ok := strings.CutSuffix(want.Name, part)
		f := families[name]
		if !ok || f == nil {
			continue
		}
		for _, m := range f.Metric {
			if v, ok := value(m, part); ok && matches(m, want.Labels) {
				sum, found = sum+v, true
			}
		}
		if found {
			break
		}
	}
	if !found {
		return 0, fmt.Errorf("read %s: %w: '%s'", address, ErrNoKey, series)
	}
	return number(sum, scale, series)
}

// value is a number of a metric: of a histogram or summary its count or sum.
func value(m *dto.Metric, part string) (float64, bool) {
	switch {
	case part == "" && m.Counter != nil:
		return m.Counter.GetValue(), true
	case part == "" && m.Gauge != nil:
		return m.Gauge.GetValue(), true
	case part == "" && m.Untyped != nil:
		return m.Untyped.GetValue(), true
	case part == "_count" && m.Histogram != nil:
		return float64(m.Histogram.GetSampleCount()), true
	case part == "_sum" && m.Histogram != nil:
		return m.Histogram.GetSampleSum(), true
	case part == "_count" && m.Summary != nil:
		return float64(m.Summary.GetSampleCount()), true
	case part == "_sum" && m.Summary != nil:
		return m.Summary.GetSampleSum(), true
	}
	return 0, false
}

func matches(m *dto.Metric, labels map[string]string) bool {
	for name, want := range labels {
		found := false
		for _, l := range m.Label {
			found = found || l.GetName() == name && l.GetValue() == want
		}
		if !found {
			return false
		}
	}
	return true
}

// number makes a whole number of a floating-point one.
func number(v float64, scale int64, what string) (uint64, error) {
	if math.IsNaN(v) || math.IsInf(v, 0) || v < 0 {
		return 0, fmt.Errorf("%s is %v, want a number from 0 up", what, v)
	}
	r := new(big.Rat).SetFloat64(v)
	return rounded(r.Mul(r, new(big.Rat).SetInt64(scale)), what)
}

// JSON reads the number at a path such as memstats.NumGC of a document, times scale.
func JSON(address, path string, scale int64) (uint64, error) {
	body, err := get(address, "application/json")
	if err != nil {
		return 0, err
	}
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber()
	var doc any
	if err := dec.Decode(&doc); err != nil {
		return 0, fmt.Errorf("read %s: %w", address, err)
	}
	for rest := path; rest != ""; {
		object, _ := doc.(map[string]any)
		// A name may contain dots itself: the longest that is there counts.
		name, after := rest, ""
		for object[name] == nil {
			cut := strings.LastIndexByte(name, '.')
			if cut < 0 {
				return 0, fmt.Errorf("read %s: %w: '%s'", address, ErrNoKey, path)
			}
			name, after = name[:cut], rest[cut+1:]
		}
		doc, rest = object[name], after
	}
	n, ok := doc.(json.Number)
	if !ok {
		return 0, fmt.Errorf("read %s: '%s' is not a number", address, path)
	}
	out, err := decimal(n.String(), scale)
	if err != nil {
		return 0, fmt.Errorf("read %s: '%s': %w", address, path, err)
	}
	return out, nil
}
