package checkpoint

import (
	"os"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func faults(fs ...fault) (n [numFaults]uint8) {
	for _, f := range fs {
		n[f]++
	}
	return n
}

// everyday is what go test explores; TIDEMARK_EXPLORE=full adds what takes minutes
// and some GB of memory.
var everyday = []scenario{
	{fencing: FenceStatic, procs: 2, records: 2, faults: faults(crashes, losses)},
	{fencing: FenceStatic, procs: 2, records: 2, faults: faults(timeOuts, losses)},
	{fencing: FenceStatic, procs: 2, records: 2, faults: faults(others, strays)},
	{fencing: FenceStatic, procs: 2, records: 2, sameID: true, faults: faults(crashes)},
	{fencing: FenceStatic, procs: 3, records: 1},
	{fencing: FenceGeneration, procs: 2, records: 2, faults: faults(kicks, losses)},
	{fencing: FenceGeneration, procs: 2, records: 2, slow: true, faults: faults(crashes)},
	{fencing: FenceGeneration, procs: 2, records: 1, faults: faults(revokes, others)},
	{fencing: FenceStoreless, procs: 2, records: 2, faults: faults(kicks, losses, others)},
	{fencing: FenceStoreless, procs: 2, records: 2, slow: true, faults: faults(crashes)},
	{fencing: FenceStoreless, procs: 2, records: 2, faults: faults(revokes, kicks)},
	{fencing: FenceStoreless, procs: 2, records: 2, faults: faults(delays, kicks, losses)},
	{fencing: FenceStoreless, procs: 3, records: 1, faults: faults(kicks)},
	{fencing: FenceGroupClaims, procs: 2, records: 2, faults: faults(kicks)},
	{fencing: FenceGroupClaims, procs: 2, records: 2, faults: faults(revokes, losses)},
	{fencing: FenceGroupClaims, procs: 2, records: 1, faults: faults(kicks, losses)},
	{fencing: FenceGroupClaims, procs: 2, records: 2, slow: true, faults: faults(crashes)},
}

var full = []scenario{
	{fencing: FenceStatic, procs: 2, records: 3, faults: faults(crashes, losses, timeOuts)},
	{fencing: FenceStatic, procs: 2, records: 2, sameID: true, faults: faults(crashes, losses, timeOuts)},
	{fencing: FenceStatic, procs: 2, records: 2, faults: faults(losses, others, strays)},
	{fencing: FenceStatic, procs: 3, records: 1, faults: faults(crashes)},
	{fencing: FenceGeneration, procs: 2, records: 2, faults: faults(kicks, kicks, losses)},
	{fencing: FenceGeneration, procs: 2, records: 2, faults: faults(revokes, kicks, losses)},
	{fencing: FenceGeneration, procs: 2, records: 2, faults: faults(crashes, kicks)},
	{fencing: FenceGeneration, procs: 2, records: 2, faults: faults(kicks, others, strays)},
	{fencing: FenceGeneration, procs: 3, records: 1, faults: faults(kicks)},
	{fencing: FenceStoreless, procs: 2, records: 3, faults: faults(kicks, kicks, losses, timeOuts)},
	{fencing: FenceStoreless, procs: 2, records: 2, faults: faults(crashes, kicks, losses, revokes)},
	{fencing: FenceStoreless, procs: 3, records: 2, faults: faults(kicks, losses)},
	{fencing: FenceGroupClaims, procs: 2, records: 2, faults: faults(kicks, losses)},
	{fencing: FenceGroupClaims, procs: 2, records: 2, faults: faults(kicks, kicks)},
	{fencing: FenceGroupClaims, procs: 2, records: 2, faults: faults(revokes, kicks, losses)},
	{fencing: FenceGroupClaims, procs: 2, records: 1, faults: faults(crashes, kicks, losses)},
	{fencing: FenceGroupClaims, procs: 2, records: 1, faults: faults(kicks, others, strays)},
	{fencing: FenceGroupClaims, procs: 3, records: 1, faults: faults(kicks)},
	{fencing: FenceGroupClaims, procs: 2, records: 2, keepID: true, faults: faults(crashes, kicks)},
	{fencing: FenceGroupClaims, procs: 2, records: 2, sameID: true, faults: faults(kicks, losses)},
	{fencing: FenceGeneration, procs: 2, records: 2, sameID: true, faults: faults(kicks, losses)},
	{fencing: FenceStoreless, procs: 2, records: 2, sameID: true, faults: faults(crashes, kicks, losses)},
	{fencing: FenceStatic, procs: 2, records: 1, faults: faults(crashes, losses, timeOuts, strays)},
	{fencing: FenceGroupClaims, procs: 2, records: 2, faults: faults(revokes, kicks, losses, timeOuts)},
	{fencing: FenceGeneration, procs: 2, records: 2, faults: faults(revokes, kicks, losses, timeOuts)},
	{fencing: FenceStoreless, procs: 2, records: 2, faults: faults(revokes, kicks, losses, timeOuts, delays)},
}

// TestOwnershipHolds explores every order in which processes, brokers and faults can
// take their steps. In each state what a consumer of the output reads is every record
// once and in order, and no committed position is without its output or goes back;
// and from each state a way without further faults leads to the end.
func TestOwnershipHolds(t *testing.T) {
	scenarios := everyday
	if os.Getenv("TIDEMARK_EXPLORE") == "full" {
		scenarios = append(scenarios, full...)
	}
	for _, conf := range scenarios {
		t.Run(conf.String(), func(t *testing.T) {
			if os.Getenv("TIDEMARK_EXPLORE") != "full" {
				t.Parallel()
			}
			started := time.Now()
			e, found := explore(&conf)
			t.Logf("%d states, %d steps, %v", len(e.from), e.steps, time.Since(started).Round(time.Millisecond))
			if found != nil {
				t.Error(found)
			}
		})
	}
}

const doubled = "record 0 is committed where record 1 is due"

// ruleOff is a rule switched off, and what goes wrong then.
type ruleOff struct {
	name string
	off  rulesOff
	conf scenario
	want string
}

var rulesSwitchedOff = []ruleOff{
	{"fence the last established claimant too", rulesOff{inclusive: true},
		scenario{fencing: FenceStatic, records: 2}, "record 1 is committed where record 2 is due"},
	{"look back to the last established claim", rulesOff{established: true},
		scenario{fencing: FenceStatic, records: 2, faults: faults(crashes)}, doubled},
	{"fence", rulesOff{fence: true}, scenario{fencing: FenceStatic, records: 2}, doubled},
	{"take the high watermark after fencing", rulesOff{highWatermark: true},
		scenario{fencing: FenceStatic, records: 2}, doubled},
	{"a claim's position counts only without a checkpoint", rulesOff{checkpointFirst: true},
		scenario{fencing: FenceStatic, records: 2}, doubled},
	{"read again after a new epoch", rulesOff{reread: true},
		scenario{fencing: FenceStatic, records: 2, faults: faults(losses)}, doubled},
	{"a live member that is fenced reads again too", rulesOff{reread: true},
		scenario{fencing: FenceGroupClaims, records: 2, faults: faults(kicks)}, doubled},
	{"restore from the store", rulesOff{memory: true},
		scenario{fencing: FenceStatic, records: 2, faults: faults(losses)}, doubled},
	{"restore from the group's offsets", rulesOff{memory: true},
		scenario{fencing: FenceStoreless, records: 2, faults: faults(losses)}, doubled},
	{"the own release ends ownership", rulesOff{release: true},
		scenario{fencing: FenceGroupClaims, records: 2, faults: faults(revokes, losses, kicks)}, "position 0 is committed, output up to 1"},
	{"fetch stable offsets before the claim", rulesOff{stable: true},
		scenario{fencing: FenceStoreless, records: 2, faults: faults(kicks)}, "the group's offset goes back from 1 to 0"},
	{"with a store too", rulesOff{stable: true},
		scenario{fencing: FenceGeneration, records: 2, faults: faults(kicks)}, "offset 0 is committed to the group, output up to 1"},
	{"callbacks wait for a commit", rulesOff{section: true},
		scenario{fencing: FenceStoreless, records: 2, faults: faults(kicks)}, "the group's offset goes back from 1 to 0"},
	{"callbacks wait for a claim", rulesOff{section: true},
		scenario{fencing: FenceGeneration, records: 2, faults: faults(kicks)}, "offset 0 is committed to the group, output up to 1"},
	{"leave the generation of a commit without an answer", rulesOff{rejoin: true},
		scenario{fencing: FenceStoreless, records: 2, faults: faults(delays)}, "the group's offset goes back from 1 to 0"},
	{"a fence may be stale", rulesOff{stale: true},
		scenario{fencing: FenceStatic, records: 1, faults: faults(crashes)}, "nobody can finish"},
	{"ask the group and claim anew", rulesOff{ask: true},
		scenario{fencing: FenceGroupClaims, records: 1, faults: faults(kicks)}, "nobody can finish"},
	{"fence former members before waiting for them", rulesOff{bury: true},
		scenario{fencing: FenceGeneration, records: 1, slow: true, faults: faults(crashes)}, "nobody can finish"},
}

// TestEachOwnershipRuleIsNeeded switches each rule off, and expects a counterexample.
func TestEachOwnershipRuleIsNeeded(t *testing.T) {
	for _, rule := range rulesSwitchedOff {
		t.Run(rule.name, func(t *testing.T) {
			t.Parallel()
			conf := rule.conf
			conf.procs, conf.off = 2, rule.off
			e, found := explore(&conf)
			require.NotNil(t, found, "not needed in %v: %d states", &conf, len(e.from))
			t.Logf("%v, after %d states: %v", &conf, len(e.from), found)
			require.Equal(t, rule.want, found.what)
		})
	}
}

func TestEveryOwnershipRuleIsSwitchedOff(t *testing.T) {
	switches := reflect.TypeFor[rulesOff]()
	for i := range switches.NumField() {
		require.True(t, slices.ContainsFunc(rulesSwitchedOff, func(r ruleOff) bool {
			return reflect.ValueOf(r.off).Field(i).Bool()
		}), "nothing shows that the rule %q is needed", switches.Field(i).Name)
	}
}
