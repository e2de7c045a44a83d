package soak_test

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/tidemarkhq/tidemark/internal/kafkatest"
	"github.com/tidemarkhq/tidemark/internal/soak"
)

// Two members whose tickets end every few seconds, one with a keytab and one with a cache
// that is renewed beside it, on a listener whose sessions end as fast: under load nothing
// is lost, nothing comes twice, and the stream does not go back.
func TestTickets(t *testing.T) {
	p, v := soak.Begin(t, "tickets", 0.001)
	life, runs := 10*time.Second, 15*time.Second
	if p.Full {
		life, runs = time.Minute, 5*time.Minute
	}
	broker := kafkatest.NewSecure(t)
	broker.Realm.Admin(t, "modprinc", "-maxlife", fmt.Sprintf("%d seconds", int(life.Seconds())), kafkatest.User)
	cache := filepath.Join(t.TempDir(), "cc")
	broker.Realm.StayLoggedIn(t, life/3, cache, kafkatest.User, broker.Keytab)
	rig := soak.NewRig(t, broker, soak.Load{})
	rig.Follow()
	v.Threshold = 0
	gss := func(fields string) string {
		return fmt.Sprintf("sasl: [ { mechanism: GSSAPI, kerberos: { krb5_conf: %q, %s } } ]", broker.Realm.Config(), fields)
	}
	var children []*soak.Child
	for _, fields := range []string{fmt.Sprintf("keytab: %q, principal: %s", broker.Keytab, kafkatest.User), fmt.Sprintf("ticket_cache: %q", cache)} {
		children = append(children, rig.Start(soak.Copy{
			Interval: 500 * time.Millisecond, Metrics: true, Seed: broker.At(kafkatest.Reauth).Seeds()[0], Security: gss(fields),
		}))
	}
	rig.AwaitMembers(2, time.Minute)
	rig.Feed(5_000)
	rig.AwaitCommit(children[0], time.Minute)
	time.Sleep(runs) // under load
	v.Rounds, v.Counted = 1, 1
	var rewinds float64
	for _, c := range children {
		n, err := c.Metric("tidemark_restarts")
		if err != nil || n != 0 {
			rig.Audit.Violate(soak.Unhealthy, "a stream went back %v times (%v)", n, err)
		}
		rewinds += n
	}
	v.Noted(rig.Drain(2 * time.Minute))
	v.Extra = map[string]any{"ticket_seconds": life.Seconds(), "run_seconds": runs.Seconds(), "rewinds": rewinds}
	v.Conclude(t, rig.Audit)
}
