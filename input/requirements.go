package input

import (
	"context"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemarkhq/tidemark/checkpoint"
	"github.com/tidemarkhq/tidemark/internal/kafka"
)

// requirements are what the settings ask of brokers that not all of them have.
func (s *settings) requirements() []kafka.Requirement {
	var rs []kafka.Requirement
	when := func(needed bool, setting string, f kafka.Feature, remedy string) {
		if needed {
			rs = append(rs, kafka.Requirement{Setting: setting, Feature: f, Remedy: remedy})
		}
	}
	when(!s.static(), fmt.Sprintf("assignment is group, of consumer_group %q", s.group), kafka.Groups, "set assignment to static")
	when(s.groupProtocol == protocolConsumer, "group_protocol is consumer", kafka.ConsumerGroups, "use classic")
	when(s.instanceID != "" && !s.static(), fmt.Sprintf("instance_id is %q", s.instanceID), kafka.StaticMembers, "remove it")
	when(s.startFrom == "timestamp", "start_from is timestamp", kafka.OffsetsByTime, "use offsets, or start elsewhere")
	when(s.stopAt == "timestamp", "stop_at is timestamp", kafka.OffsetsByTime, "use offsets, or stop elsewhere")
	if s.topic != "" {
		rs = append(rs, kafka.StoreTopic)
	}
	return rs
}

// How patient brokers of 0.9 let a group be, unless they are configured otherwise, and the
// default of session_timeout, which is more.
const (
	oldSessionTimeout     = 30 * time.Second
	defaultSessionTimeout = time.Minute
)

// learn finds out what the brokers are, and tells the client for it, which was made before:
// to those that do not say it themselves.
func (s *source) learn(ctx context.Context) error {
	s.conf.Connection.Learn(ctx)
	if s.told || !s.conf.Connection.Brokers.Mute() {
		return nil
	}
	admin, err := s.conf.Connection.NewClient()
	if err != nil {
		return checkpoint.Fatal(err)
	}
	s.admin.Close()
	s.admin, s.told = admin, true
	return nil
}

// fit adapts what is read with to brokers that are known by now: what they cannot do is an
// error, and what they do otherwise is made up for.
func (s *source) fit() error {
	b := s.conf.Connection.Brokers
	if err := b.Meet(s.conf.Requirements...); err != nil {
		return err
	}
	s.fitted.Do(func() {
		if !s.conf.Static {
			s.fitGroup(b)
		}
		if b.Lack(kafka.LargeRecords) && s.conf.FetchMaxPartitionBytes < 1<<20 {
			s.log.Warnf("fetch_max_partition_bytes is %d, and brokers of version %s never send a record that is larger: its partition would stand still. Set it to at least their message.max.bytes",
				s.conf.FetchMaxPartitionBytes, b.Version())
		}
	})
	return nil
}

// fitGroup is fit for a member of a group. Brokers before 0.10.1 have one time-out for a
// silent member and for one that does not join again.
func (s *source) fitGroup(b *kafka.Brokers) {
	if b.Lack(kafka.Timestamps) && s.conf.SessionTimeout == defaultSessionTimeout {
		s.conf.SessionTimeout = oldSessionTimeout
		s.conf.Consumer = append(s.conf.Consumer, kgo.SessionTimeout(oldSessionTimeout))
		s.log.Infof("session_timeout is %v, the most that brokers of version %s allow unless they are configured otherwise", oldSessionTimeout, b.Version())
	}
	if b.Lack(kafka.RebalanceTime) && s.conf.RebalanceTimeout > s.conf.SessionTimeout {
		s.conf.RebalanceTimeout = s.conf.SessionTimeout
		s.conf.Consumer = append(s.conf.Consumer, kgo.RebalanceTimeout(s.conf.SessionTimeout))
	}
}
