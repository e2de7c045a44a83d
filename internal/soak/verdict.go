package soak

import (
	"encoding/json"
	"fmt"
	"hash/fnv"
	"hash/maphash"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// Verdict is what a harness has found.
type Verdict struct {
	Harness string `json:"harness"`
	// Pass tells that nothing was violated; of a broken binary, that something was.
	Pass bool   `json:"pass"`
	Seed uint64 `json:"seed"`
	// Rounds played, and those of them that count: Threshold records at least were
	// delivered and not committed at the kill, after a checkpoint.
	Rounds    int   `json:"rounds"`
	Counted   int   `json:"counted_rounds"`
	Threshold int64 `json:"threshold_records,omitempty"`
	// Kills -9 of the pipeline, those that hit work in flight, and those placed
	// between the flush of a checkpoint and its commit.
	Kills         int `json:"kills"`
	KillsInFlight int `json:"kills_that_hit_work_in_flight"`
	KillsBetween  int `json:"kills_between_flush_and_commit"`
	// Records delivered once at least, and delivered again.
	Records int64 `json:"records"`
	Repeats int64 `json:"repeats"`
	// LongestRepeat is the longest time whose records one restart repeated, in
	// seconds.
	LongestRepeat float64        `json:"longest_repeat_seconds"`
	Seconds       float64        `json:"seconds"`
	Violations    map[Fault]int  `json:"violations,omitempty"`
	First         []Violation    `json:"first_violations,omitempty"`
	Extra         map[string]any `json:"extra,omitempty"`
	begun         time.Time
}

// Plan says how long a harness goes on.
type Plan struct {
	// Rounds that must count; 0 = until Until.
	Rounds int
	Until  time.Time
	// Full tells that the numbers of the real thing are wanted, not scaled-down ones.
	Full bool
	// Random is the harness's own source of random choices.
	Random *rand.Rand
	v      *Verdict
}

// defaultBudget is how long each harness takes in an ordinary test run.
const defaultBudget = 20 * time.Second

// seed is that of this process: $TIDEMARK_SEED, or a new one.
var seed = sync.OnceValues(func() (uint64, error) {
	text := os.Getenv("TIDEMARK_SEED")
	if text == "" {
		return new(maphash.Hash).Sum64() >> 12, nil
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("reading TIDEMARK_SEED=%q: %w", text, err)
	}
	return n, nil
})

// Begin starts a harness: share of TIDEMARK_SOAK_ROUNDS is how many rounds it plays,
// 1 for all of them. It logs how to play the same again.
func Begin(t testing.TB, harness string, share float64) (*Plan, *Verdict) {
	t.Helper()
	s, err := seed()
	if err != nil {
		t.Fatal(err)
	}
	budget := defaultBudget
	if text := os.Getenv("TIDEMARK_SOAK_BUDGET"); text != "" {
		if budget, err = time.ParseDuration(text); err != nil {
			t.Fatalf("reading TIDEMARK_SOAK_BUDGET: %v", err)
		}
	}
	h := fnv.New64a()
	h.Write([]byte(harness))
	v := &Verdict{Harness: harness, Seed: s, begun: time.Now()}
	p := &Plan{Until: time.Now().Add(budget), Random: rand.New(rand.NewPCG(s, h.Sum64())), v: v}
	if text := os.Getenv("TIDEMARK_SOAK_ROUNDS"); text != "" {
		rounds, err := strconv.Atoi(text)
		if err != nil || rounds < 1 {
			t.Fatalf("reading TIDEMARK_SOAK_ROUNDS=%q: it must be a number above 0", text)
		}
		p.Rounds, p.Full = max(int(float64(rounds)*share), 1), true
	}
	folder, err := os.Getwd() // The package that is tested.
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("seed %d; again with TIDEMARK_SEED=%d go test -run '^%s$' ./internal/%s", s, s, t.Name(), filepath.Base(folder))
	return p, v
}

// Restart moves the end of the budget: what came before was preparation.
func (p *Plan) Restart() { p.Until = p.Until.Add(time.Since(p.v.begun)) }

// Shorten bounds the budget from now on, unless rounds are asked for.
func (p *Plan) Shorten(budget time.Duration) {
	if until := time.Now().Add(budget); until.Before(p.Until) {
		p.Until = until
	}
}

// enough is how many rounds are played at most until one counts.
const enough = 10

// More tells whether to play another round. Rounds that do not count are played
// again, but not for ever.
func (p *Plan) More() bool {
	if p.Rounds == 0 {
		return time.Now().Before(p.Until) || p.v.Counted == 0 && p.v.Rounds < enough
	}
	return p.v.Counted < p.Rounds && p.v.Rounds < 3*p.Rounds
}

// Noted adds up what restarts repeated.
func (v *Verdict) Noted(restarts []Restart) {
	for _, r := range restarts {
		v.Repeats += r.Repeats()
		v.LongestRepeat = max(v.LongestRepeat, r.Span.Seconds())
	}
}

// verdicts collects those of this process.
var verdicts struct {
	sync.Mutex
	all []*Verdict
}

// Conclude prints the verdict in one line, keeps it for Write, and fails the test
// if anything was violated.
func (v *Verdict) Conclude(t testing.TB, a *Audit) {
	t.Helper()
	v.close(t, a, !a.Red() && !t.Failed())
	if a.Red() {
		t.Errorf("%s", a)
	}
}

// ConcludeRed is Conclude for a binary that was broken on purpose: it passes if
// something was violated.
func (v *Verdict) ConcludeRed(t testing.TB, a *Audit) {
	t.Helper()
	v.close(t, a, a.Red())
	t.Logf("%s", a)
	if !a.Red() {
		t.Errorf("the harness has found nothing wrong with a binary that is broken: %v", v.Extra)
	}
}

// shown is how many violations a verdict has in words.
const shown = 5

func (v *Verdict) close(t testing.TB, a *Audit, pass bool) {
	t.Helper()
	for _, n := range a.Next() {
		v.Records += n
	}
	first, counts := a.Violations()
	v.First, v.Violations, v.Pass = first[:min(len(first), shown)], counts, pass
	v.Seconds = time.Since(v.begun).Round(time.Millisecond).Seconds()
	line, err := json.Marshal(v)
	if err != nil {
		t.Fatalf("writing a verdict: %v", err)
	}
	t.Logf("verdict %s", line)
	verdicts.Lock()
	defer verdicts.Unlock()
	verdicts.all = append(verdicts.all, v)
}

// result is what Write writes.
type result struct {
	Date     time.Time  `json:"date"`
	Commit   string     `json:"commit"`
	Seed     uint64     `json:"seed"`
	Go       string     `json:"go"`
	CPUs     int        `json:"cpus"`
	Pass     bool       `json:"pass"`
	Verdicts []*Verdict `json:"verdicts"`
}

// Write writes the verdicts of this process into the folder that
// TIDEMARK_SOAK_RESULTS names, taken from the root of the module, if it is set.
func Write() error {
	dir := os.Getenv("TIDEMARK_SOAK_RESULTS")
	verdicts.Lock()
	defer verdicts.Unlock()
	if dir == "" || len(verdicts.all) == 0 {
		return nil
	}
	root, err := findRoot()
	if err != nil {
		return err
	}
	if !filepath.IsAbs(dir) {
		dir = filepath.Join(root, dir)
	}
	r := result{
		Date: time.Now().UTC().Truncate(time.Second), Commit: commitOfTree(root), Seed: verdicts.all[0].Seed,
		Go: runtime.Version(), CPUs: runtime.NumCPU(), Pass: true, Verdicts: verdicts.all,
	}
	for _, v := range verdicts.all {
		r.Pass = r.Pass && v.Pass
	}
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("writing the result: %w", err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("writing the result: %w", err)
	}
	path := filepath.Join(dir, "soak-"+r.Date.Format("2006-01-02T150405")+".json")
	if err := os.WriteFile(path, append(text, '\n'), 0o644); err != nil {
		return fmt.Errorf("writing the result: %w", err)
	}
	return nil
}

// commitOfTree names the commit that is tested, with a plus if the tree differs.
func commitOfTree(root string) string {
	git := func(args ...string) string {
		out, err := exec.Command("git", append([]string{"-C", root}, args...)...).Output()
		if err != nil {
			return ""
		}
		return strings.TrimSpace(string(out))
	}
	commit := git("rev-parse", "HEAD")
	if commit == "" {
		return "unknown"
	}
	if git("status", "--porcelain") != "" {
		commit += "+"
	}
	return commit
}
