package kafka

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"
)

// maxListedPartitions bounds what a range may expand to, so that a slip of the
// finger is an error and not an empty memory.
const maxListedPartitions = 100_000

// Topics is what a configuration says about the topics to read.
type Topics struct {
	// List holds `name`, `name:0`, `name:0-3`, `name:0:10` (from offset 10), each
	// item possibly several of them with commas between; patterns if Regexp.
	List []string
	// Regexp tells that List holds patterns.
	Regexp bool
	// Include holds patterns; with it, List is empty.
	Include []string
	// Exclude holds patterns of topics that no pattern matches.
	Exclude []string
}

// Subscription is what to read: whole topics, explicit partitions, or the topics
// that patterns match.
type Subscription struct {
	// Topics are read with all their partitions.
	Topics []string
	// Partitions are read and no others of their topics.
	Partitions []Partition
	// Offsets are where explicit partitions start, for those that say so.
	Offsets map[Partition]int64

	include, exclude []*regexp.Regexp
}

// Patterns tells whether the subscription is one of patterns, which match
// whatever topics there are at the time.
func (s Subscription) Patterns() bool { return len(s.include) > 0 }

// Explicit tells whether the subscription names partitions.
func (s Subscription) Explicit() bool { return len(s.Partitions) > 0 }

// Matches tells whether a pattern matches the whole name of a topic.
func (s Subscription) Matches(topic string) bool {
	matches := func(r *regexp.Regexp) bool { return r.MatchString(topic) }
	return slices.ContainsFunc(s.include, matches) && !slices.ContainsFunc(s.exclude, matches)
}

// Covers tells whether the subscription asks for the partition, if it exists.
func (s Subscription) Covers(p Partition) bool {
	return slices.Contains(s.Topics, p.Topic) || slices.Contains(s.Partitions, p) || s.Matches(p.Topic)
}

// Consume returns the options by which a member of a group asks for the topics.
// Explicit partitions are not asked for: a group assigns whole topics.
func (s Subscription) Consume() []kgo.Opt {
	if !s.Patterns() {
		return []kgo.Opt{kgo.ConsumeTopics(s.Topics...)}
	}
	opts := []kgo.Opt{kgo.ConsumeRegex(), kgo.ConsumeTopics(texts(s.include)...)}
	if len(s.exclude) > 0 {
		opts = append(opts, kgo.ConsumeExcludeTopics(texts(s.exclude)...))
	}
	return opts
}

func texts(patterns []*regexp.Regexp) []string {
	list := make([]string, len(patterns))
	for i, p := range patterns {
		list[i] = p.String()
	}
	return list
}

// Parse returns what t subscribes to. Its errors name the field and the item.
func (t Topics) Parse() (Subscription, error) {
	var s Subscription
	switch {
	case len(t.Include) > 0 && len(t.List) > 0:
		return s, errors.New("topics and regexp_topics_include are both set: use one of them")
	case len(t.Include) > 0:
		return s, errors.Join(s.addPatterns("regexp_topics_include", t.Include), s.addExcluded(t.Exclude))
	case t.Regexp:
		return s, errors.Join(s.addPatterns("topics", t.List), s.addExcluded(t.Exclude))
	case len(t.Exclude) > 0:
		return s, errors.New("regexp_topics_exclude is set without patterns: set regexp_topics_include as well")
	}
	var errs []error
	for _, item := range splitList(t.List) {
		if err := s.add(item); err != nil {
			errs = append(errs, fmt.Errorf("topics: %q: %w", item, err))
		}
	}
	for _, p := range s.Partitions {
		if slices.Contains(s.Topics, p.Topic) {
			errs = append(errs, fmt.Errorf("topics: %q is listed whole and with partition %d: keep one of them", p.Topic, p.ID))
		}
	}
	if len(errs) == 0 && len(s.Topics)+len(s.Partitions) == 0 {
		errs = append(errs, errors.New("topics is empty: name at least one topic, or set regexp_topics_include"))
	}
	slices.SortFunc(s.Partitions, Partition.Compare)
	return s, errors.Join(errs...)
}

func (s *Subscription) add(item string) error {
	fields := strings.Split(item, ":")
	topic := strings.TrimSpace(fields[0])
	if err := checkTopic(topic); err != nil {
		return err
	}
	if len(fields) == 1 {
		if !slices.Contains(s.Topics, topic) {
			s.Topics = append(s.Topics, topic)
		}
		return nil
	}
	if len(fields) > 3 {
		return errors.New("use name, name:partition, name:first-last or name:partition:offset")
	}
	first, last, err := parseRange(strings.TrimSpace(fields[1]))
	if err != nil {
		return err
	}
	offset := int64(-1)
	if len(fields) == 3 {
		if offset, err = strconv.ParseInt(strings.TrimSpace(fields[2]), 10, 64); err != nil || offset < 0 {
			return fmt.Errorf("%q is not an offset", fields[2])
		}
	}
	return s.addRange(topic, first, last, offset)
}

func (s *Subscription) addRange(topic string, first, last int32, offset int64) error {
	if int64(last)-int64(first) >= maxListedPartitions-int64(len(s.Partitions)) {
		return fmt.Errorf("names more than %d partitions", maxListedPartitions)
	}
	listed := make(map[Partition]bool, len(s.Partitions))
	for _, p := range s.Partitions {
		listed[p] = true
	}
	for id := int64(first); id <= int64(last); id++ {
		p := Partition{Topic: topic, ID: int32(id)}
		if !listed[p] {
			s.Partitions = append(s.Partitions, p)
		}
		if offset >= 0 {
			if s.Offsets == nil {
				s.Offsets = make(map[Partition]int64)
			}
			s.Offsets[p] = offset // as in Connect, a later offset wins
		}
	}
	return nil
}

func parseRange(expr string) (first, last int32, err error) {
	from, to, ranged := strings.Cut(expr, "-")
	if !ranged {
		to = from
	}
	a, errA := strconv.ParseInt(strings.TrimSpace(from), 10, 32)
	b, errB := strconv.ParseInt(strings.TrimSpace(to), 10, 32)
	if errA != nil || errB != nil || a < 0 || b < 0 {
		return 0, 0, fmt.Errorf("%q is neither a partition number nor a range such as 0-3", expr)
	}
	if b < a {
		return 0, 0, fmt.Errorf("the range %q ends before it begins", expr)
	}
	return int32(a), int32(b), nil
}

var topicName = regexp.MustCompile(`^[a-zA-Z0-9._-]{1,249}$`)

func checkTopic(name string) error {
	if !topicName.MatchString(name) || name == "." || name == ".." {
		return fmt.Errorf("%q cannot be the name of a topic; for a pattern set regexp_topics_include", name)
	}
	return nil
}

// explicit recognises an item that names partitions among patterns.
var explicit = regexp.MustCompile(`^[a-zA-Z0-9._*+-]+:\d+(-\d+)?(:\d+)?$`)

func (s *Subscription) addPatterns(field string, patterns []string) error {
	var errs []error
	for _, p := range splitPatterns(patterns) {
		if explicit.MatchString(p) {
			errs = append(errs, fmt.Errorf("%s: %q names a partition among patterns: list it in topics without patterns", field, p))
			continue
		}
		r, err := whole(p)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %q is not a regular expression: %w", field, p, err))
			continue
		}
		s.include = append(s.include, r)
	}
	if len(errs) == 0 && len(s.include) == 0 {
		errs = append(errs, fmt.Errorf("%s is empty: give at least one pattern", field))
	}
	return errors.Join(errs...)
}

func (s *Subscription) addExcluded(patterns []string) error {
	var errs []error
	for _, p := range patterns {
		r, err := whole(p)
		if err != nil {
			errs = append(errs, fmt.Errorf("regexp_topics_exclude: %q is not a regular expression: %w", p, err))
			continue
		}
		s.exclude = append(s.exclude, r)
	}
	return errors.Join(errs...)
}

// whole compiles a pattern that must match a name from its first to its last
// character.
func whole(pattern string) (*regexp.Regexp, error) {
	if _, err := regexp.Compile(pattern); err != nil {
		return nil, err // before it is wrapped: an error about our own brackets helps nobody
	}
	return regexp.Compile(`^(?:` + pattern + `)$`)
}

// splitList splits items at commas; white space and empty parts do not count.
func splitList(items []string) []string {
	var parts []string
	for _, item := range items {
		for _, part := range strings.Split(item, ",") {
			if part = strings.TrimSpace(part); part != "" {
				parts = append(parts, part)
			}
		}
	}
	return parts
}

// splitPatterns is splitList for patterns: a comma within brackets or braces,
// such as that of {1,3}, belongs to the pattern.
func splitPatterns(items []string) []string {
	var parts []string
	for _, item := range items {
		depth, from := 0, 0
		for i, r := range item {
			switch r {
			case '{', '[', '(':
				depth++
			case '}', ']', ')':
				depth--
			case ',':
				if depth <= 0 {
					parts = append(parts, item[from:i])
					from = i + 1
				}
			}
		}
		parts = append(parts, item[from:])
	}
	parts = slices.DeleteFunc(parts, func(p string) bool { return strings.TrimSpace(p) == "" })
	for i := range parts {
		parts[i] = strings.TrimSpace(parts[i])
	}
	return parts
}
