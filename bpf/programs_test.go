package bpf

import (
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
)

// TestUnreadableProgram has a program that cannot be read and one that has gone, between two that can be.
func TestUnreadableProgram(t *testing.T) {
	after := func(id ebpf.ProgramID) (ebpf.ProgramID, error) {
		if id == 4 {
			return 0, os.ErrNotExist
		}
		return id + 1, nil
	}
	broken := errors.New("no type 7")
	read := func(id ebpf.ProgramID) ([]ProgFunc, error) {
		switch id {
		case 2:
			return nil, broken
		case 3:
			return nil, os.ErrNotExist
		}
		return []ProgFunc{{Name: "f", Program: uint32(id)}}, nil
	}
	funcs, err := collectFuncs(after, read)
	if len(funcs) != 2 || funcs[0].Program != 1 || funcs[1].Program != 4 {
		t.Errorf("got %v", funcs)
	}
	if !errors.Is(err, broken) || !strings.Contains(err.Error(), "read program 2: no type 7") || strings.Contains(err.Error(), "3") {
		t.Errorf("got %v", err)
	}
}
