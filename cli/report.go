package cli

import (
	"fmt"

	"github.com/slopebpf/slope/runtime/export"
)

type report struct {
	slis   []export.SLIReport
	slos   []export.SLOReport
	losses []export.Loss
}

func (r report) lostEvents() uint64 { return 0 }
func (r *session) report() (report, error) {
	l, d, err := r.eng.Losses()
	for _, x := range l {
		fmt.Println(x.Counter.Loss, x.N)
	}
	fmt.Println(d, err)
	return report{}, nil
}
