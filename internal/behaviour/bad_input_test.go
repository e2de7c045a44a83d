package behaviour

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"
	"github.com/twmb/franz-go/pkg/sasl/plain"

	"github.com/tidemarkhq/tidemark/internal/kafkatest"
	"github.com/tidemarkhq/tidemark/internal/store"
)

// soon is how long a user waits for a word about what is wrong.
const soon = 10 * time.Second

// fatal runs a stream that must end by itself soon, with a fatal error that says
// all of words.
func fatal(t *testing.T, e kafkatest.Endpoint, yaml string, words ...string) {
	t.Helper()
	began := time.Now()
	s := start(t, e, yaml)
	s.ended()
	require.Less(t, time.Since(began), soon)
	last := s.logs.String()
	at := strings.Index(last, "Stream stopped for good: ")
	require.GreaterOrEqual(t, at, 0, last)
	for _, w := range words {
		require.Contains(t, last[at:], w)
	}
}

func TestBadInputTopicsThatDoNotExist(t *testing.T) {
	each(t, func(t *testing.T, assignment string) {
		e := kafkatest.Virtual(t)
		in, out := topics(t, e, 2)
		kafkatest.Fill(t, e, in, 5)
		fatal(t, e, copyYAML("missing", out, "g", "assignment: "+assignment), "missing")
		fatal(t, e, copyYAML(in+", missing", out, "g", "assignment: "+assignment), "missing")
		fatal(t, e, copyYAML("'"+in+":9'", out, "g", ""), in, "9")
		fatal(t, e, copyYAML(in, "missing", "g", "assignment: "+assignment), `\"missing\"`, in, "offset 0")
		require.NotContains(t, kafkatest.Topics(t, e), "missing")
		require.Equal(t, []int64{0, 0}, kafkatest.Ends(t, e, out))
		start(t, e, copyYAML(in, out, "g", "assignment: "+assignment))
		awaitNumbers(t, e, out, map[int32][]int64{0: span(0, 5), 1: span(0, 5)})
	})
}

func TestBadInputAuthenticationRefused(t *testing.T) {
	for _, half := range []string{"input", "output"} {
		for _, user := range []string{"sasl: [ { mechanism: PLAIN, username: u, password: secret-and-wrong } ]", "sasl: []", "sasl: [ { mechanism: SCRAM-SHA-512, username: u, password: right } ]"} {
			synctest.Test(t, func(t *testing.T) {
				e := kafkatest.Virtual(t, kfake.EnableSASL(), kfake.Superuser("PLAIN", "u", "right"), kfake.SeedTopics(1, "in", "out"))
				s := start(t, e, halves("in", "out", user)[half])
				kafkatest.Eventually(t, soon, "the stream stops for good", func() bool {
					return len(s.said("Stream stopped for good")) > 0 || half == "output" && len(s.said("Failed to connect")) > 0
				})
				require.NotContains(t, s.logs.String(), "secret-and-wrong")
				require.Contains(t, strings.ToLower(s.logs.String()), "sasl")
			})
		}
	}
}

// allowed is a user with rights on resources by their full names.
func allowed(rights ...kfake.ACL) kfake.Opt {
	for i := range rights {
		rights[i].Pattern, rights[i].Allow = kmsg.ACLResourcePatternTypeLiteral, true
	}
	return kfake.User("PLAIN", "u", "p", rights...)
}

func TestBadInputAuthorisationRefused(t *testing.T) {
	right := func(resource kmsg.ACLResourceType, name string, op kmsg.ACLOperation) kfake.ACL {
		return kfake.ACL{Resource: resource, Name: name, Operation: op}
	}
	all := []kfake.ACL{
		right(kmsg.ACLResourceTypeTopic, "in", kmsg.ACLOperationRead),
		right(kmsg.ACLResourceTypeGroup, "g", kmsg.ACLOperationRead),
		right(kmsg.ACLResourceTypeTopic, "out", kmsg.ACLOperationWrite),
	}
	for missing, words := range map[int][]string{
		-1: nil,
		0:  {"in", "AUTHORIZATION"},
		1:  {`group \"g\"`, "GROUP_AUTHORIZATION_FAILED"},
		2:  {"out", "TOPIC_AUTHORIZATION_FAILED"},
	} {
		each(t, func(t *testing.T, assignment string) {
			// Whoever may write to nothing at all gets no producer id.
			rights := []kfake.ACL{right(kmsg.ACLResourceTypeTopic, "other", kmsg.ACLOperationWrite)}
			for i, r := range all {
				if i != missing {
					rights = append(rights, r)
				}
			}
			e := kafkatest.Virtual(t, kfake.EnableSASL(), kfake.EnableACLs(), kfake.SeedTopics(1, "in", "out"), allowed(rights...), kfake.Superuser("PLAIN", "root", "p"))
			cl, err := kgo.NewClient(append(e.ClientOptions(), kgo.SASL(plain.Auth{User: "root", Pass: "p"}.AsMechanism()))...)
			require.NoError(t, err)
			require.NoError(t, cl.ProduceSync(t.Context(), &kgo.Record{Topic: "in", Value: []byte("0/0")}).FirstErr())
			cl.Close()
			yaml := connected(copyYAML("in", "out", "g", "assignment: "+assignment), "sasl: [ { mechanism: PLAIN, username: u, password: p } ]")
			if missing >= 0 {
				fatal(t, e, yaml, words...)
				return
			}
			before := e.Count(kmsg.Produce)
			s := start(t, e, yaml)
			kafkatest.Eventually(t, patience, "the record is written and committed", func() bool { return e.Count(kmsg.Produce) > before && e.Count(kmsg.OffsetCommit) > 0 })
			require.NoError(t, s.stop())
		})
	}
}

func TestBadInputDamagedStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := kafkatest.Virtual(t)
		in, out := topics(t, e, 1)
		kafkatest.Fill(t, e, in, 5)
		dir := t.TempDir()
		yaml := copyYAML(in, out, "", "checkpoint: { store: { directory: "+dir+" } }")
		s := start(t, e, yaml)
		awaitNumbers(t, e, out, map[int32][]int64{0: span(0, 5)})
		require.NoError(t, s.stop())
		require.NoError(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			b, err := os.ReadFile(path)
			if err == nil && len(b) > 0 {
				b[len(b)/2] ^= 0xff
				err = os.WriteFile(path, b, 0o600)
			}
			return err
		}))
		fatal(t, e, yaml, dir)
		require.Equal(t, []int64{5}, kafkatest.Ends(t, e, out))
	})
}

// A store that another process holds may be free in a moment, so the stream waits
// for it a little; what it waits for is said at once.
func TestBadInputBusyStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := kafkatest.Virtual(t)
		in, out := topics(t, e, 1)
		kafkatest.Fill(t, e, in, 5)
		dir := t.TempDir()
		held, err := store.Open(t.Context(), store.Options{Directory: dir, Job: "j"})
		require.NoError(t, err)
		s := start(t, e, copyYAML(in, out, "", "checkpoint: { job: j, store: { directory: "+dir+" } }"))
		time.Sleep(5 * time.Second) // virtual
		require.Len(t, s.said("level=ERROR"), 1)
		require.Contains(t, s.logs.String(), fmt.Sprintf("%s is in use by process %d", dir, os.Getpid()))
		require.Equal(t, []int64{0}, kafkatest.Ends(t, e, out))
		require.NoError(t, held.Close())
		kafkatest.Eventually(t, soon, "it goes on by itself", func() bool { return len(numbers(t, e, out)[0]) == 5 })
		require.NoError(t, s.stop())
	})
}

// One that keeps it does the same work, and waiting for it would hide that.
func TestBadInputLockedStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := kafkatest.Virtual(t)
		in, out := topics(t, e, 1)
		kafkatest.Fill(t, e, in, 5)
		dir := t.TempDir()
		held, err := store.Open(t.Context(), store.Options{Directory: dir, Job: "j"})
		require.NoError(t, err)
		defer func() { require.NoError(t, held.Close()) }()
		began := time.Now()
		fatal(t, e, copyYAML(in, out, "", "checkpoint: { job: j, store: { directory: "+dir+" } }"),
			fmt.Sprintf("is in use by process %d", os.Getpid()), "stop that process")
		require.Less(t, time.Since(began), soon)
		require.Equal(t, []int64{0}, kafkatest.Ends(t, e, out))
	})
}

// Nobody at the address, or a broker that is away: said soon, with address and
// cause, tried again, and by itself in order when the broker is there.
func TestBadInputUnreachableBroker(t *testing.T) {
	refuse := func(context.Context, string, string) (net.Conn, error) {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: errors.New("connection refused")}
	}
	for name, away := range map[string]func(testing.TB) dial{"connection refused": func(testing.TB) dial { return refuse }, "no answer": deaf} {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, assignment string) {
				e := kafkatest.Virtual(t)
				in, out := topics(t, e, 1)
				kafkatest.Fill(t, e, in, 5)
				var there atomic.Bool
				nobody := away(t)
				env := dialling(t, func(ctx context.Context, network, address string) (net.Conn, error) {
					if there.Load() {
						return e.Dial(ctx, network, address)
					}
					return nobody(ctx, network, address)
				})
				s := startIn(t, env, e, copyYAML(in, out, "g", "assignment: "+assignment))
				time.Sleep(soon) // virtual
				for _, component := range []string{"root.input", "root.output"} {
					said := 0
					for line := range strings.Lines(s.logs.String()) {
						if strings.Contains(line, "level=ERROR") && strings.Contains(line, component) {
							require.Contains(t, line, e.Seeds()[0])
							if name == "connection refused" {
								require.Contains(t, line, name)
							}
							said++
						}
					}
					require.Positive(t, said, component)
				}
				time.Sleep(10 * time.Minute)
				require.Empty(t, s.said("Stream stopped for good"))
				require.Less(t, len(s.said("level=ERROR")), 50, "one in half a minute of each")
				there.Store(true)
				back := time.Now()
				kafkatest.Eventually(t, 3*patience, "it goes on by itself", func() bool { return len(numbers(t, e, out)[0]) == 5 })
				t.Logf("going %v after the broker was there", time.Since(back))
				require.NoError(t, s.stop())
				require.Equal(t, int64(5), kafkatest.Committed(t, e, "g", in)[0].Offset)
			})
		})
	}
}

func TestBadInputGroupProtocolThatTheBrokerLacks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := kafkatest.Virtual(t, kfake.MaxVersions(kversion.V3_6_0()))
		in, out := topics(t, e, 1)
		kafkatest.Fill(t, e, in, 5)
		fatal(t, e, copyYAML(in, out, "g", "group_protocol: consumer"), "group_protocol", "classic")
		require.Equal(t, []int64{0}, kafkatest.Ends(t, e, out))
		start(t, e, copyYAML(in, out, "g", ""))
		awaitNumbers(t, e, out, map[int32][]int64{0: span(0, 5)})
	})
}

func TestBadInputNoOffsetAndContradictions(t *testing.T) {
	each(t, func(t *testing.T, assignment string) {
		e := kafkatest.Virtual(t)
		in, out := topics(t, e, 1)
		kafkatest.Fill(t, e, in, 5)
		fatal(t, e, copyYAML(in, out, "g", "offset_reset: none\n    assignment: "+assignment), in+"/0", "offset_reset")
		require.ErrorContains(t, runRefused(t, e, copyYAML(in, out, "g", "stop_at: offsets\n    assignment: "+assignment)), "stop_offsets")
		require.ErrorContains(t, runRefused(t, e, copyYAML(in, out, "g", "assignment: "+assignment)+"    partition: 7\n    partitioner: round_robin\n"), "partition")
		require.Equal(t, []int64{0}, kafkatest.Ends(t, e, out))
		require.Empty(t, kafkatest.Committed(t, e, "g", in))
	})
}
