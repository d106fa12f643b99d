package push

import (
	"strconv"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/proto"
)

// BenchmarkEncode is what a push of 100 000 counters costs besides gathering and sending.
func BenchmarkEncode(b *testing.B) {
	kind, name, help := dto.MetricType_COUNTER, "slope_sli_events_total", "Events that an indicator counted."
	f := &dto.MetricFamily{Name: &name, Help: &help, Type: &kind}
	for i := range 100_000 {
		f.Metric = append(f.Metric, &dto.Metric{Counter: &dto.Counter{Value: new(float64(i))}, Label: []*dto.LabelPair{
			{Name: new("route"), Value: new("/shop/route/" + strconv.Itoa(i))}, {Name: new("sli"), Value: new("answers")}}})
	}
	s := &snapshot{[]*dto.MetricFamily{f}, time.Now()}
	r := &remoteWrite{own: []label{{"job", "slope"}, {"instance", "box"}}}
	b.Run("remote write 2", func(b *testing.B) {
		for b.Loop() {
			numbers, _ := r.flatten(s)
			if _, err := requestV2(numbers, s.at).MarshalVT(); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("remote write 1", func(b *testing.B) {
		for b.Loop() {
			numbers, _ := r.flatten(s)
			if len(requestV1(numbers, s.at)) == 0 {
				b.Fatal("empty")
			}
		}
	})
	b.Run("otlp", func(b *testing.B) {
		o := &otlp{}
		for b.Loop() {
			for _, m := range o.requests(s) {
				if _, err := proto.Marshal(m); err != nil {
					b.Fatal(err)
				}
			}
		}
	})
}
