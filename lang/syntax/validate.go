package syntax

import "github.com/slopebpf/slope/lang/source"

func validate(f *File, ds *source.Diagnostics) {}
