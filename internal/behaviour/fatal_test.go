package behaviour

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/require"

	"github.com/tidemarkhq/tidemark/internal/kafkatest"
)

// refused runs a stream that must end by itself with a fatal error that says all
// of words, without having written or committed anything.
func refused(t *testing.T, e kafkatest.Endpoint, yaml, out string, words ...string) {
	t.Helper()
	s := start(t, e, yaml)
	s.ended()
	require.Empty(t, numbers(t, e, out), "nothing is emitted")
	for _, w := range words {
		require.Contains(t, s.logs.String(), w)
	}
	require.Contains(t, s.logs.String(), "Stream stopped for good")
}

func TestSP04_NoGroupOffsetWithResetNoneIsFatal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := kafkatest.Virtual(t)
		in, out := topics(t, e, 2)
		kafkatest.Fill(t, e, in, 5)
		refused(t, e, copyYAML(in, out, "g", "offset_reset: none"), out, in+"/0", in+"/1", "offset_reset")
		require.Empty(t, kafkatest.Committed(t, e, "g", in))
	})
}

func TestSP09_UncoveredPartitionsAreListed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := kafkatest.Virtual(t)
		in, out := topics(t, e, 3)
		kafkatest.Fill(t, e, in, 5)
		refused(t, e, copyYAML(in, out, "g", fmt.Sprintf(
			"start_from: offsets\n    start_offsets: { %s: { 1: 2 } }\n    offset_reset: none", in)), out, in+"/0", in+"/2", "start_offsets")
		require.Empty(t, kafkatest.Committed(t, e, "g", in))
	})
}

func TestSP10_ImpossiblePositionsAreRefusedBeforeABrokerIsContacted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := kafkatest.Virtual(t)
		for extra, field := range map[string]string{
			"start_from: group_offsets":                                    "consumer_group",
			"start_from: earliest\n    stop_at: group_offsets":             "consumer_group",
			"start_from: timestamp":                                        "start_timestamp",
			"start_from: offsets":                                          "start_offsets",
			"stop_at: timestamp":                                           "stop_timestamp",
			"stop_at: offsets":                                             "stop_offsets",
			"offset_reset: newest":                                         "newest", // Benthos names the value and the line
			"checkpoint: { commit_offsets: true }":                         "consumer_group",
			"properties: { enable.auto.commit: 'true' }":                   "enable.auto.commit",
			"topics: [ 'a:0', 'b.*' ]\n    regexp_topics: true":            "topics",
			"assignment: group":                                            "consumer_group",
			"checkpoint: { restore_from: 3 }":                              "restore_from",
			"consumer_group: g\n    checkpoint: { commit_offsets: false }": "commit_offsets",
			"shard: { index: 2, count: 2 }":                                "shard",
			"checkpoint: { interval: -1s }":                                "interval",
			"start_from: earliest\n    start_timestamp: 170000000":         "start_timestamp",
		} {
			yaml := copyYAML("in", "out", "", extra)
			if strings.HasPrefix(extra, "topics") {
				yaml = strings.Replace(yaml, "topics: [ in ]", "", 1)
			}
			_, err := build(t, e, yaml, &logs{})
			if err == nil {
				// Not a lint: then the constructor refuses it when the stream runs.
				var s *service.Stream
				s, err = build(t, e, yaml, &logs{})
				require.NoError(t, err)
				err = s.Run(t.Context())
			}
			require.Error(t, err, extra)
			require.Contains(t, err.Error(), field, extra)
		}
		require.Zero(t, e.Count(3), "no metadata request")
	})
}

func TestDI08_WhatDoesNotExistIsNamedAndNotCreated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := kafkatest.Virtual(t)
		in, out := topics(t, e, 2)
		for topics, name := range map[string]string{"no-such-topic": "no-such-topic", in + ":7": "7"} {
			yaml := strings.Replace(copyYAML("$IN", out, "g", "assignment: static"), "$IN", "'"+topics+"'", 1)
			refused(t, e, yaml, out, name)
		}
		refused(t, e, copyYAML("no-such-topic", out, "g", ""), out, "no-such-topic")
		require.NotContains(t, kafkatest.Topics(t, e), "no-such-topic")
	})
}
