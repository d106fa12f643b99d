// Package poll reads numbers that the kernel or a service keeps itself: files of cgroups (v1 and v2), pressure stall
// information, files of /proc, and Prometheus or JSON endpoints on loopback.
//
// Every function reads once and gives one unsigned number or an error that names the file and the key: a number is never
// made up. Numbers with a fraction are multiplied by a scale and rounded. The package keeps nothing between two reads, but
// for the places where cgroup hierarchies are mounted. Only loopback is ever connected to.
// Start at Cgroup and File.
package poll

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"math"
	"math/big"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
)

// ErrNoKey says that a file or a document does not hold what was asked for.
var ErrNoKey = errors.New("no such key")

// maxFile bounds what is read of a file.
const maxFile = 4 << 20

// File reads a number from a file, multiplied by scale; see Number for keys.
func File(path, key string, scale int64) (uint64, error) {
	text, err := readFile(path)
	if err != nil {
		return 0, err
	}
	n, err := Number(text, key, scale)
	if err != nil {
		return 0, fmt.Errorf("read %s: %w", path, err)
	}
	return n, nil
}

func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text := make([]byte, 0, 4096)
	for len(text) < maxFile {
		if len(text) == cap(text) {
			text = append(text, 0)[:len(text)]
		}
		n, err := f.Read(text[len(text):cap(text)])
		text = text[:len(text)+n]
		if err != nil || n == 0 { // the end, or an error that the kernel tells at the end
			if err != nil && len(text) == 0 && !errors.Is(err, os.ErrClosed) && err.Error() != "EOF" {
				return nil, err
			}
			return text, nil
		}
	}
	return nil, fmt.Errorf("read %s: more than %d bytes", path, maxFile)
}

// Number finds a number in the text of a file. The key is one of these, or empty for the first number of the text:
//
//	nr_throttled      "nr_throttled 12", "nr_throttled: 12 kB" (then in bytes)
//	some avg10        "some avg10=0.12 avg60=…"
//	Tcp RetransSegs   the column of that name in a pair of lines "Tcp: … RetransSegs …", "Tcp: … 12 …"
func Number(text []byte, key string, scale int64) (uint64, error) {
	if key == "" {
		for _, field := range strings.Fields(string(text)) {
			return decimal(field, scale)
		}
		return 0, ErrNoKey
	}
	first, second, two := strings.Cut(key, " ")
	var names []string // of the columns of a pair of lines
	for scan := bufio.NewScanner(bytes.NewReader(text)); scan.Scan(); {
		fields := strings.Fields(scan.Text())
		if len(fields) < 2 || strings.TrimSuffix(fields[0], ":") != first {
			continue
		}
		if !two {
			kilo := len(fields) == 3 && fields[2] == "kB"
			if kilo && scale <= math.MaxInt64/1024 {
				scale *= 1024
			}
			return decimal(fields[1], scale)
		}
		for i, f := range fields[1:] {
			if value, ok := strings.CutPrefix(f, second+"="); ok {
				return decimal(value, scale)
			}
			if names != nil && i < len(names) && names[i] == second {
				return decimal(f, scale)
			}
		}
		names = fields[1:]
	}
	return 0, fmt.Errorf("%w: '%s'", ErrNoKey, key)
}

// decimal reads an unsigned decimal number, "max" being the greatest int64, and multiplies it exactly.
func decimal(s string, scale int64) (uint64, error) {
	if s == "max" {
		return math.MaxInt64, nil
	}
	if n, err := strconv.ParseUint(s, 10, 64); err == nil && scale == 1 {
		return n, nil
	}
	const most = 1e25 // more than any integer at any scale; an exponent must not make a number of a million digits
	if f, err := strconv.ParseFloat(s, 64); err != nil || len(s) > 64 || strings.ContainsAny(s, "_xXpPiInN") {
		return 0, fmt.Errorf("'%s' is not a number", s)
	} else if f < 0 || f > most {
		return 0, fmt.Errorf("'%s' is out of range", s)
	} else if f < 1/most {
		return 0, nil
	}
	r, ok := new(big.Rat).SetString(s)
	if !ok {
		return 0, fmt.Errorf("'%s' is not a number", s)
	}
	return rounded(r.Mul(r, new(big.Rat).SetInt64(scale)), s)
}

func rounded(r *big.Rat, s string) (uint64, error) {
	twice := new(big.Int).Mul(r.Num(), big.NewInt(2))
	n := new(big.Int).Div(twice.Add(twice, r.Denom()), new(big.Int).Mul(r.Denom(), big.NewInt(2)))
	if !n.IsUint64() {
		return 0, fmt.Errorf("'%s' is out of range", s)
	}
	return n.Uint64(), nil
}

// parts per million of a percentage.
const perCent = 10_000

// Pressure reads stall information of a cgroup, of the machine when it is empty: averages in millionths of the time,
// the total in microseconds.
func Pressure(cgroup, resource, kind, field string) (uint64, error) {
	scale := int64(perCent)
	if field == "total" {
		scale = 1
	}
	path := "/proc/pressure/" + resource
	if cgroup != "" {
		var err error
		if path, err = cgroupFile(cgroup, resource+".pressure"); err != nil {
			return 0, err
		}
	}
	return File(path, kind+" "+field, scale)
}

// Cgroup reads a number from a file of a cgroup, in whichever hierarchy has it.
func Cgroup(cgroup, file, key string) (uint64, error) {
	path, err := cgroupFile(cgroup, file)
	if err != nil {
		return 0, err
	}
	return File(path, key, 1)
}

func cgroupFile(cgroup, file string) (string, error) {
	if file == "" || strings.ContainsRune(file, '/') {
		return "", fmt.Errorf("'%s' is not the name of a cgroup's file", file)
	}
	roots, err := Hierarchies()
	if err != nil {
		return "", err
	}
	for _, root := range roots {
		path := filepath.Join(root, cgroup, file)
		if _, err := os.Stat(path); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("cgroup %s: no file %s in any hierarchy: %w", cgroup, file, os.ErrNotExist)
}

// Hierarchies are the places where cgroups are mounted, the unified one first.
func Hierarchies() ([]string, error) {
	text, err := readFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	var v2, v1 []string
	for _, line := range strings.Split(string(text), "\n") {
		before, after, ok := strings.Cut(line, " - ")
		fields := strings.Fields(before)
		if !ok || len(fields) < 5 {
			continue
		}
		place := unescape(fields[4])
		switch kind, _, _ := strings.Cut(after, " "); kind {
		case "cgroup2":
			v2 = append(v2, place)
		case "cgroup":
			v1 = append(v1, place)
		}
	}
	if len(v1)+len(v2) == 0 {
		return nil, errors.New("no cgroup hierarchy is mounted")
	}
	return append(v2, v1...), nil
}

// unescape undoes the octal escapes of mountinfo.
func unescape(s string) string {
	for i := 0; i+3 < len(s); i++ {
		if s[i] != '\\' {
			continue
		}
		if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
			s = s[:i] + string([]byte{byte(n)}) + s[i+4:]
		}
	}
	return s
}

// Cgroups lists the cgroups that match a pattern and have all the files, by their path below the root.
func Cgroups(pattern string, files []string) ([]string, error) {
	roots, err := Hierarchies()
	if err != nil {
		return nil, err
	}
	found := map[string]map[string]bool{} // the files of a cgroup
	for _, root := range roots {
		places, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			return nil, fmt.Errorf("cgroups %s: %w", pattern, err)
		}
		for _, place := range places {
			if info, err := os.Stat(place); err != nil || !info.IsDir() {
				continue
			}
			name := "/" + strings.TrimPrefix(strings.TrimPrefix(place, root), "/")
			if found[name] == nil {
				found[name] = map[string]bool{}
			}
			for _, f := range files {
				if _, err := os.Stat(filepath.Join(place, f)); err == nil {
					found[name][f] = true
				}
			}
		}
	}
	var out []string
next:
	for name, has := range found {
		for _, f := range files {
			if !has[f] {
				continue next
			}
		}
		out = append(out, name)
	}
	sort.Strings(out)
	return out, nil
}
