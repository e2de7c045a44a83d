package format

import (
	"errors"
	"fmt"
	"strings"
)

// Lines are those of RFC 4180. The standard library's reader is not used: it makes \n of \r\n
// inside of quotes, skips empty lines, and does not tell what was quoted.

// cell is a field of a line.
type cell struct {
	text   string
	quoted bool
}

var errTwoLines = errors.New("it has more than one line, and a record is one: quote what holds line breaks")

// split takes a line apart. One line break at its end does not count. It counts the fields
// beyond the columns, but does not keep them: a line of delimiters would take much memory.
func (f *csvFormat) split(line string) (cells []cell, n int, err error) {
	if cut, ok := strings.CutSuffix(line, "\n"); ok {
		line = strings.TrimSuffix(cut, "\r")
	}
	cells = make([]cell, 0, len(f.columns))
	for at := 0; ; {
		c, end, err := f.cell(line, at)
		if err != nil {
			return nil, 0, err
		}
		if n++; n <= len(f.columns) {
			cells = append(cells, c)
		}
		if end == len(line) {
			return cells, n, nil
		}
		at = end + len(f.Delimiter)
	}
}

// cell returns the field that begins at a place, and where it ends: at a delimiter or at the
// end of the line.
func (f *csvFormat) cell(line string, at int) (c cell, end int, err error) {
	rest := line[at:]
	if f.Quote != "" && strings.HasPrefix(rest, f.Quote) {
		return f.quotedCell(line, at)
	}
	if n := strings.Index(rest, f.Delimiter); n >= 0 {
		rest = rest[:n]
	}
	if strings.ContainsAny(rest, "\r\n") {
		return cell{}, 0, errTwoLines
	}
	if f.Quote != "" {
		if n := strings.Index(rest, f.Quote); n >= 0 {
			return cell{}, 0, fmt.Errorf("there is a quote at byte %d, inside of a field that does not begin with one", at+n)
		}
	}
	return cell{text: rest}, at + len(rest), nil
}

func (f *csvFormat) quotedCell(line string, at int) (c cell, end int, err error) {
	var text strings.Builder
	for end = at + len(f.Quote); ; {
		n := strings.Index(line[end:], f.Quote)
		if n < 0 {
			return cell{}, 0, fmt.Errorf("the quote at byte %d is not closed", at)
		}
		text.WriteString(line[end : end+n])
		end += n + len(f.Quote)
		if !strings.HasPrefix(line[end:], f.Quote) {
			break
		}
		text.WriteString(f.Quote)
		end += len(f.Quote)
	}
	if end < len(line) && !strings.HasPrefix(line[end:], f.Delimiter) {
		if line[end] == '\n' || line[end] == '\r' {
			return cell{}, 0, errTwoLines
		}
		return cell{}, 0, fmt.Errorf("there is something after the closing quote at byte %d", end-len(f.Quote))
	}
	return cell{text: text.String(), quoted: true}, end, nil
}

// appendCell adds a field that is not null.
func (f *csvFormat) appendCell(line []byte, text string) ([]byte, error) {
	if err := checkUTF8String(text); err != nil {
		return nil, err
	}
	special := text == f.NullLiteral || strings.Contains(text, f.Delimiter) || strings.ContainsAny(text, "\r\n")
	if f.Quote == "" {
		if special {
			return nil, fmt.Errorf("%q: %w", shorten(text), errNeedsQuotes)
		}
		return append(line, text...), nil
	}
	// Others may trim what is not quoted.
	if !special && !strings.Contains(text, f.Quote) && strings.TrimSpace(text) == text {
		return append(line, text...), nil
	}
	line = append(line, f.Quote...)
	line = append(line, strings.ReplaceAll(text, f.Quote, f.Quote+f.Quote)...)
	return append(line, f.Quote...), nil
}
