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

// members finds members of an object: into found comes the value of each name that is
// there. It is not sure if this is no object, or if a name has escapes.
func members(object []byte, names []string, found [][]byte) (sure bool) {
	if len(object) == 0 || object[0] != '{' {
		return false
	}
	for i := space(object, 1); i < len(object) && object[i] == '"'; {
		end := i + 1
		for object[end] != '"' {
			if object[end] == '\\' {
				return false
			}
			end++
		}
		key := object[i+1 : end]
		i = space(object, end+1) // the colon
		i = space(object, i+1)   // the value
		next := skip(object, i)
		for k, name := range names {
			if string(key) == name {
				found[k] = object[i:next]
			}
		}
		if i = space(object, next); i < len(object) && object[i] == ',' {
			i = space(object, i+1)
		}
	}
	return true
}
