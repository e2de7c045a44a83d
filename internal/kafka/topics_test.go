package kafka_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tidemarkhq/tidemark/internal/kafka"
)

func at(topic string, ids ...int32) []kafka.Partition {
	var parts []kafka.Partition
	for _, id := range ids {
		parts = append(parts, kafka.Partition{Topic: topic, ID: id})
	}
	return parts
}

func TestTopicsParse(t *testing.T) {
	for _, test := range []struct {
		name    string
		in      kafka.Topics
		topics  []string
		parts   []kafka.Partition
		offsets map[kafka.Partition]int64
	}{
		{name: "one", in: kafka.Topics{List: []string{"foo"}}, topics: []string{"foo"}},
		{name: "commas and spaces", in: kafka.Topics{List: []string{" foo, bar ", "baz ", "foo,"}}, topics: []string{"foo", "bar", "baz"}},
		{name: "a partition", in: kafka.Topics{List: []string{"foo", "bar:1"}}, topics: []string{"foo"}, parts: at("bar", 1)},
		{name: "ranges", in: kafka.Topics{List: []string{"foo:5-7", "bar:0-2,foo:6"}}, parts: append(at("bar", 0, 1, 2), at("foo", 5, 6, 7)...)},
		{name: "an offset", in: kafka.Topics{List: []string{"foo:5:7"}}, parts: at("foo", 5), offsets: map[kafka.Partition]int64{{Topic: "foo", ID: 5}: 7}},
		{name: "a later offset wins", in: kafka.Topics{List: []string{"foo:4-6:3", "foo:5:7", "foo:6"}}, parts: at("foo", 4, 5, 6),
			offsets: map[kafka.Partition]int64{{Topic: "foo", ID: 4}: 3, {Topic: "foo", ID: 5}: 7, {Topic: "foo", ID: 6}: 3}},
	} {
		t.Run(test.name, func(t *testing.T) {
			s, err := test.in.Parse()
			require.NoError(t, err)
			assert.Equal(t, test.topics, s.Topics)
			assert.Equal(t, test.parts, s.Partitions)
			assert.Equal(t, test.offsets, s.Offsets)
			assert.False(t, s.Patterns())
		})
	}
}

func TestTopicsRefused(t *testing.T) {
	for _, test := range []struct {
		in   kafka.Topics
		want []string
	}{
		{kafka.Topics{}, []string{"topics is empty"}},
		{kafka.Topics{List: []string{" , "}}, []string{"topics is empty"}},
		{kafka.Topics{List: []string{"things.*"}}, []string{`"things.*" cannot be the name`, "regexp_topics_include"}},
		{kafka.Topics{List: []string{"a:1:2:3", "b:x", "c:3-1", "d:-1", "e:0:-5", "f:"}}, []string{`"a:1:2:3"`, `"b:x"`, `"c:3-1"`, `"d:-1"`, `"e:0:-5"`, `"f:"`}},
		{kafka.Topics{List: []string{"a:0-2147483647"}}, []string{"more than 100000 partitions"}},
		{kafka.Topics{List: []string{"a", "a:1"}}, []string{`"a" is listed whole and with partition 1`}},
		{kafka.Topics{List: []string{"a"}, Include: []string{"b"}}, []string{"topics and regexp_topics_include are both set"}},
		{kafka.Topics{List: []string{"a"}, Exclude: []string{"b"}}, []string{"regexp_topics_exclude is set without patterns"}},
		{kafka.Topics{List: []string{"a["}, Regexp: true}, []string{`"a[" is not a regular expression`}},
		{kafka.Topics{Include: []string{"a"}, Exclude: []string{"("}}, []string{`regexp_topics_exclude: "("`}},
		{kafka.Topics{Regexp: true}, []string{"topics is empty"}},
	} {
		_, err := test.in.Parse()
		for _, want := range test.want {
			assert.ErrorContains(t, err, want, "%+v", test.in)
		}
	}
}

func TestDI10_PartitionsAmongPatternsAreRefused(t *testing.T) {
	for _, in := range []kafka.Topics{
		{List: []string{"foo.*", "bar:0"}, Regexp: true},
		{List: []string{"foo.*:0-3"}, Regexp: true},
		{Include: []string{"foo:1"}},
	} {
		_, err := in.Parse()
		assert.ErrorContains(t, err, "names a partition among patterns", "%+v", in)
	}
}

func TestDI06_PatternsMatchWholeNames(t *testing.T) {
	s, err := kafka.Topics{List: []string{"orders-[a-z]{1,3},x|y", "(?:p)"}, Regexp: true, Exclude: []string{"orders-us", "ers"}}.Parse()
	require.NoError(t, err)
	assert.True(t, s.Patterns())
	for name, want := range map[string]bool{
		"orders-eu": true, "orders-us": false, "orders-": false, "orders-euro": false, "my-orders-eu": false,
		"x": true, "y": true, "xy": false, "p": true,
	} {
		assert.Equal(t, want, s.Matches(name), name)
	}
}
