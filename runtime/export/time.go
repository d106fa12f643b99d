package export

import (
	"strconv"
	"time"
)

// AppendTime formats a time as strftime(3) does in the C locale, and %f as microseconds. What it does not know it copies.
func AppendTime(dst []byte, format string, t time.Time) []byte {
	for i := 0; i < len(format); i++ {
		if format[i] != '%' || i+1 == len(format) {
			dst = append(dst, format[i])
			continue
		}
		i++
		switch c := format[i]; c {
		case 'H':
			dst = appendDigits(dst, t.Hour(), 2, '0')
		case 'k':
			dst = appendDigits(dst, t.Hour(), 2, ' ')
		case 'I':
			dst = appendDigits(dst, hour12(t), 2, '0')
		case 'l':
			dst = appendDigits(dst, hour12(t), 2, ' ')
		case 'M':
			dst = appendDigits(dst, t.Minute(), 2, '0')
		case 'S':
			dst = appendDigits(dst, t.Second(), 2, '0')
		case 'f':
			dst = appendDigits(dst, t.Nanosecond()/1000, 6, '0')
		case 'p':
			dst = t.AppendFormat(dst, "PM")
		case 'P':
			dst = t.AppendFormat(dst, "pm")
		case 'Y':
			dst = strconv.AppendInt(dst, int64(t.Year()), 10)
		case 'C':
			dst = appendDigits(dst, t.Year()/100, 2, '0')
		case 'y':
			dst = appendDigits(dst, t.Year()%100, 2, '0')
		case 'm':
			dst = appendDigits(dst, int(t.Month()), 2, '0')
		case 'd':
			dst = appendDigits(dst, t.Day(), 2, '0')
		case 'e':
			dst = appendDigits(dst, t.Day(), 2, ' ')
		case 'j':
			dst = appendDigits(dst, t.YearDay(), 3, '0')
		case 'a':
			dst = append(dst, t.Weekday().String()[:3]...)
		case 'A':
			dst = append(dst, t.Weekday().String()...)
		case 'b', 'h':
			dst = append(dst, t.Month().String()[:3]...)
		case 'B':
			dst = append(dst, t.Month().String()...)
		case 'u':
			dst = appendDigits(dst, (int(t.Weekday())+6)%7+1, 1, '0')
		case 'w':
			dst = appendDigits(dst, int(t.Weekday()), 1, '0')
		case 'U':
			dst = appendDigits(dst, (t.YearDay()+6-int(t.Weekday()))/7, 2, '0')
		case 'W':
			dst = appendDigits(dst, (t.YearDay()+6-(int(t.Weekday())+6)%7)/7, 2, '0')
		case 'V':
			_, week := t.ISOWeek()
			dst = appendDigits(dst, week, 2, '0')
		case 'G':
			year, _ := t.ISOWeek()
			dst = strconv.AppendInt(dst, int64(year), 10)
		case 'g':
			year, _ := t.ISOWeek()
			dst = appendDigits(dst, year%100, 2, '0')
		case 's':
			dst = strconv.AppendInt(dst, t.Unix(), 10)
		case 'z':
			dst = t.AppendFormat(dst, "-0700")
		case 'Z':
			name, _ := t.Zone()
			dst = append(dst, name...)
		case 'F':
			dst = AppendTime(dst, "%Y-%m-%d", t)
		case 'T', 'X':
			dst = AppendTime(dst, "%H:%M:%S", t)
		case 'R':
			dst = AppendTime(dst, "%H:%M", t)
		case 'r':
			dst = AppendTime(dst, "%I:%M:%S %p", t)
		case 'D', 'x':
			dst = AppendTime(dst, "%m/%d/%y", t)
		case 'c':
			dst = AppendTime(dst, "%a %b %e %H:%M:%S %Y", t)
		case 'n':
			dst = append(dst, '\n')
		case 't':
			dst = append(dst, '\t')
		case '%':
			dst = append(dst, '%')
		default:
			dst = append(dst, '%', c)
		}
	}
	return dst
}

func hour12(t time.Time) int { return (t.Hour()+11)%12 + 1 }

// appendDigits appends a number of at least width characters.
func appendDigits(dst []byte, n, width int, fill byte) []byte {
	for limit := 10; width > 1; width-- {
		if n < limit {
			dst = append(dst, fill)
		}
		limit *= 10
	}
	return strconv.AppendInt(dst, int64(n), 10)
}
