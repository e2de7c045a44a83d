package mapping

import "github.com/tidwall/gjson"

// What is below finds members of a document and checks the document on the way: once for
// both. Asking gjson, which also checks what is nested or has escapes here, first whether
// a document is valid and then for each member costs four times as much; it has to be
// asked for every member anyway, because of several of the same name the last one counts,
// as where the document is parsed.

// at is a byte of a document; what comes behind its end is none that a document can have.
func at(json []byte, i int) byte {
	if i < len(json) {
		return json[i]
	}
	return 0
}

// space returns the index of what follows white space.
func space(json []byte, i int) int {
	for i < len(json) && (json[i] == ' ' || json[i] == '\n' || json[i] == '\r' || json[i] == '\t') {
		i++
	}
	return i
}

// plainText are the bytes that stand for themselves in a string. Those above ASCII are among
// them: what is no UTF-8 is left to who reads the text.
var plainText = func() (is [256]bool) {
	for c := range is {
		is[c] = c >= ' ' && c != '"' && c != '\\'
	}
	return is
}()

// quoted returns the index of the first byte of a string that is not plain, which is its
// closing quote if there are no escapes. The string begins in front of i.
func quoted(json []byte, i int) int {
	for i < len(json) && plainText[json[i]] {
		i++
	}
	return i
}

// text returns the index after the string that begins at i, if its end is a quote.
func text(json []byte, i int) int {
	for i++; i < len(json); i++ {
		switch json[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return len(json)
}

// deepest is how deep a value is looked at: encoding/json refuses what is nested more than
// 10000 deep, and gjson's check calls itself for each level.
const deepest = 1000

// nested returns the index after the object or array that begins at i, if it is one.
func nested(json []byte, i int) int {
	depth := 0
	for i < len(json) {
		switch json[i] {
		case '"':
			i = text(json, i)
			continue
		case '{', '[':
			if depth++; depth > deepest {
				return 0
			}
		case '}', ']':
			if depth--; depth == 0 {
				return i + 1
			}
		}
		i++
	}
	return i
}

func digits(json []byte, i int) int {
	for i < len(json) && json[i]-'0' <= 9 {
		i++
	}
	return i
}

// number returns the index after the number that begins at i; 0 if there is none.
func number(json []byte, i int) int {
	if at(json, i) == '-' {
		i++
	}
	end := digits(json, i)
	if end == i || json[i] == '0' && end > i+1 {
		return 0
	}
	if at(json, end) == '.' {
		i, end = end+1, digits(json, end+1)
		if end == i {
			return 0
		}
	}
	if c := at(json, end); c == 'e' || c == 'E' {
		i = end + 1
		if c := at(json, i); c == '-' || c == '+' {
			i++
		}
		if end = digits(json, i); end == i {
			return 0
		}
	}
	return end
}

// value returns the index after the value that begins at i; 0 if there is none.
func value(json []byte, i int) int {
	switch c := at(json, i); c {
	case '"':
		end := quoted(json, i+1)
		if at(json, end) == '"' {
			return end + 1
		}
		if end = text(json, i); !gjson.ValidBytes(json[i:end]) {
			return 0
		}
		return end
	case '{', '[':
		end := nested(json, i)
		if end == 0 || !gjson.ValidBytes(json[i:end]) {
			return 0
		}
		return end
	case 't', 'f', 'n':
		for _, word := range [...]string{"true", "false", "null"} {
			if end := i + len(word); end <= len(json) && string(json[i:end]) == word {
				return end
			}
		}
		return 0
	}
	return number(json, i)
}

// members finds members of an object: into found comes the value of each name that is
// there. It is not sure if this is no valid object, or if a name has escapes.
func members(object []byte, names []string, found [][]byte) (sure bool) {
	i := space(object, 0)
	if at(object, i) != '{' {
		return false
	}
	for first := true; ; first = false {
		i = space(object, i+1)
		if first && at(object, i) == '}' {
			break
		}
		if at(object, i) != '"' {
			return false
		}
		end := quoted(object, i+1)
		if at(object, end) != '"' {
			return false
		}
		key := object[i+1 : end]
		if i = space(object, end+1); at(object, i) != ':' {
			return false
		}
		i = space(object, i+1)
		if end = value(object, i); end == 0 {
			return false
		}
		for k, name := range names {
			if string(key) == name {
				found[k] = object[i:end]
			}
		}
		i = space(object, end)
		if c := at(object, i); c == '}' {
			break
		} else if c != ',' {
			return false
		}
	}
	return space(object, i+1) == len(object)
}
