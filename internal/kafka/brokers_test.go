package kafka_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tidemarkhq/tidemark/internal/kafka"
)

func TestStatedVersions(t *testing.T) {
	for text, want := range map[string]string{
		"": "", "0.8": "0.8.2", "0.8.2": "0.8.2", "0.8.2.2": "0.8.2", "0.9": "0.9.0", "0.9.0.1": "0.9.0", "0.10": "0.10.0",
		"0.10.2.2": "0.10.2", "v1.1": "1.1", "2": "2.0", "3.9.1": "3.9", "4.1.0": "4.1", "17.3": "17.3",
	} {
		b, err := kafka.ParseBrokers(text)
		require.NoError(t, err, text)
		assert.Equal(t, want, b.Version(), text)
	}
	for text, want := range map[string]string{
		"0.1": "quotes", "0.7.2": `the oldest is "0.8.2"`, "0.8.1": `oldest version that can be is "0.8.2"`,
		"new": `"new" is not a version`, "1.2.3.4.5": "is not a version", "1.": "is not a version",
	} {
		_, err := kafka.ParseBrokers(text)
		assert.ErrorContains(t, err, want, text)
	}
}

// Which version has what, in the words of those who state it.
func TestWhatVersionsLack(t *testing.T) {
	features := map[string]kafka.Feature{
		"groups": kafka.Groups, "timestamps": kafka.Timestamps, "lz4": kafka.Lz4, "by time": kafka.OffsetsByTime,
		"large records": kafka.LargeRecords, "headers": kafka.Headers, "idempotence": kafka.Idempotence, "no creation": kafka.NoTopicCreation,
		"zstd": kafka.Zstd, "static members": kafka.StaticMembers, "exactly once": kafka.MemberCommits, "consumer groups": kafka.ConsumerGroups,
		"rebalance time-out": kafka.RebalanceTime, "SASL": kafka.SASLHandshake,
	}
	for _, f := range features {
		for _, version := range []string{"0.8.2", "0.9", "0.10.0", "0.10.1", "0.10.2", "0.11", "1.0", "1.1", "2.0", "2.1", "2.2", "2.3", "2.4", "2.5", "2.8", "3.0", "3.9", "4.0", "4.1", "9.9"} {
			b, err := kafka.ParseBrokers(version)
			require.NoError(t, err)
			since, err := kafka.ParseBrokers(f.Since)
			require.NoError(t, err)
			assert.False(t, since.Lack(f), "%+v", f)
			if version == "3.9" && f == kafka.ConsumerGroups {
				continue // It has a first version of it: whoever asks for it is told.
			}
			assert.Equal(t, older(version, f.Since), b.Lack(f), "%s and %+v", version, f)
		}
	}
	unknown, err := kafka.ParseBrokers("")
	require.NoError(t, err)
	for name, f := range features {
		assert.False(t, unknown.Lack(f), name)
		assert.False(t, (*kafka.Brokers)(nil).Lack(f), name)
	}
}

// older compares versions of one or two digits a place.
func older(a, b string) bool {
	order := []string{"0.8.2", "0.9", "0.10", "0.10.0", "0.10.1", "0.10.2", "0.11", "1.0", "1.1", "2.0", "2.1", "2.2", "2.3", "2.4", "2.5", "2.8", "3.0", "3.9", "4.0", "4.1", "9.9"}
	place := map[string]int{}
	for i, v := range order {
		place[v] = i
	}
	return place[a] < place[b] && (a != "0.10.0" || b != "0.10")
}

func TestRequirementsNameTheVersion(t *testing.T) {
	b, err := kafka.ParseBrokers("0.10.0")
	require.NoError(t, err)
	err = b.Meet(
		kafka.Requirement{Setting: "start_from is timestamp", Feature: kafka.OffsetsByTime, Remedy: "start elsewhere"},
		kafka.Requirement{Setting: "assignment is group", Feature: kafka.Groups, Remedy: "use static"},
	)
	require.EqualError(t, err, "start_from is timestamp, which needs brokers of version 0.10.1 or newer, and these are of version 0.10.0: start elsewhere")
	assert.Equal(t, kafka.Fatal, kafka.Classify(kafka.Connect, err).Meaning)
	require.NoError(t, (*kafka.Brokers)(nil).Meet(kafka.Requirement{Feature: kafka.Zstd}))
}
