package behaviour

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tidemarkhq/tidemark/internal/kafkatest"
)

// right is what docs/security.md says that a stream needs.
type right struct {
	kind kmsg.ACLResourceType
	name string
	// prefix: the name is the beginning of one.
	prefix     bool
	operations []kadm.ACLOperation
}

// grant gives rights to a user, and takes everything else on these resources from
// everybody.
func grant(t *testing.T, b *kafkatest.SecureBroker, user string, rights []right) {
	t.Helper()
	admin := kafkatest.Admin(t, b)
	for _, r := range rights {
		a := kadm.NewACLs().Operations(r.operations...).Allow("User:" + user).AllowHosts("*")
		if len(r.operations) == 0 {
			// A resource that has no ACL is open to everybody.
			a = kadm.NewACLs().Operations(kmsg.ACLOperationAll).Allow("User:nobody").AllowHosts("*")
		}
		switch r.kind {
		case kmsg.ACLResourceTypeGroup:
			a = a.Groups(r.name)
		case kmsg.ACLResourceTypeTransactionalId:
			a = a.TransactionalIDs(r.name)
		default:
			a = a.Topics(r.name)
		}
		a = a.ResourcePatternType(kmsg.ACLResourcePatternTypeLiteral)
		if r.prefix {
			a = a.ResourcePatternType(kmsg.ACLResourcePatternTypePrefixed)
		}
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		results, err := admin.CreateACLs(ctx, a)
		cancel()
		require.NoError(t, err)
		for _, r := range results {
			require.NoError(t, r.Err)
		}
	}
}

// The rights that the documentation names are enough, and each of them is needed: without
// it the error names the resource.
func TestSE04_TheDocumentedRightsAreEnoughAndEachIsNamedWhereItIsMissing(t *testing.T) {
	b := kafkatest.Secure(t)
	for _, missing := range []string{"", "source", "target", "group", "id"} {
		t.Run("without "+missing, func(t *testing.T) {
			t.Parallel()
			in, out := topics(t, b, 1)
			kafkatest.Fill(t, b, in, 10)
			group := kafkatest.Unique(t)
			rights := map[string]right{
				"source": {kmsg.ACLResourceTypeTopic, in, false, []kadm.ACLOperation{kmsg.ACLOperationRead, kmsg.ACLOperationDescribe}},
				"target": {kmsg.ACLResourceTypeTopic, out, false, []kadm.ACLOperation{kmsg.ACLOperationWrite, kmsg.ACLOperationDescribe}},
				"group":  {kmsg.ACLResourceTypeGroup, group, false, []kadm.ACLOperation{kmsg.ACLOperationRead, kmsg.ACLOperationDescribe}},
				"id":     {kmsg.ACLResourceTypeTransactionalId, "tidemark-" + group, true, []kadm.ACLOperation{kmsg.ACLOperationWrite, kmsg.ACLOperationDescribe}},
			}
			var all []right
			for name, r := range rights {
				if name == missing {
					r.operations = nil
				}
				all = append(all, r)
			}
			grant(t, b, kafkatest.User, all)
			yaml := connected(copyYAML(in, out, group, "checkpoint: { interval: 300ms }"), userPassword("PLAIN", kafkatest.User, kafkatest.Password))
			s := start(t, b.At(kafkatest.SASLPlaintext), yaml+exactly)
			if missing == "" {
				awaitNumbers(t, b, out, map[int32][]int64{0: span(0, 10)})
				require.NoError(t, s.stop())
				require.NotContains(t, s.logs.String(), "level=ERROR")
				return
			}
			want := fmt.Sprintf("%q", rights[missing].name)
			if missing == "id" {
				want = `"tidemark-` + group
			}
			kafkatest.Until(t, patience, func() error {
				for _, line := range strings.Split(s.logs.String(), "\n") {
					if strings.Contains(line, "level=ERROR") && strings.Contains(strings.ReplaceAll(line, `\"`, `"`), want) {
						return nil
					}
				}
				return fmt.Errorf("no error names %s", want)
			})
			s.abandon()
		})
	}
}
