package mapping

// What is below walks through documents that are known to be valid: gjson has found them
// to be so. Looking a member up by gjson as well costs five times as much, because it has
// to be asked for every member: of several of the same name the last one counts, as where
// the document is parsed.

// space returns the index of what follows white space.
func space(json []byte, i int) int {
	for i < len(json) && (json[i] == ' ' || json[i] == '\n' || json[i] == '\r' || json[i] == '\t') {
		i++
	}
	return i
}

// text returns the index after the string that begins at i.
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

// skip returns the index after the value that begins at i.
func skip(json []byte, i int) int {
	depth := 0
	for i < len(json) {
		switch json[i] {
		case '"':
			i = text(json, i)
			if depth == 0 {
				return i
			}
			continue
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth < 0 {
				return i // the end of what a scalar is in
			}
			if depth == 0 {
				return i + 1
			}
		case ',', ' ', '\n', '\r', '\t':
			if depth == 0 {
				return i
			}
		}
		i++
	}
	return i
}

// member returns what the value of a member begins with, up to the end of its object; nil
// if there is none. It is not sure if a name has escapes.
func member(object []byte, name string) (found []byte, sure bool) {
	for i := space(object, 1); i < len(object) && object[i] == '"'; {
		end := text(object, i)
		key := object[i+1 : end-1]
		for _, c := range key {
			if c == '\\' {
				return nil, false
			}
		}
		i = space(object, end) // the colon
		i = space(object, i+1) // the value
		next := skip(object, i)
		if string(key) == name {
			found = object[i:next]
		}
		if i = space(object, next); i < len(object) && object[i] == ',' {
			i = space(object, i+1)
		}
	}
	return found, true
}
