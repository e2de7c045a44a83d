package engine

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/tidemarkhq/tidemark/checkpoint"
)

// claimWriter returns the transactional id under which the stream writes.
func (c *Coordinator) claimWriter(prefix string, conf checkpoint.Config) (string, error) {
	job := c.jobName(conf)
	if job == "" {
		return "", checkpoint.Fatal(errors.New("transactions need a name for the job, by which the next start knows what this one has left open: " +
			"set checkpoint.job, or consumer_group"))
	}
	id := prefix + "-" + job + "-" + c.writerSuffix(conf)
	// Two streams with the same would take it from each other without an end.
	c.reg.mu.Lock()
	defer c.reg.mu.Unlock()
	if of := c.reg.writers[id]; of != nil && of != c {
		return "", checkpoint.Fatal(fmt.Errorf("%v writes under the transactional id %q already: give each stream a checkpoint.job of its own", of, id))
	}
	if c.reg.writers == nil {
		c.reg.writers = map[string]*Coordinator{}
	}
	c.reg.writers[id] = c
	return id, nil
}

// releaseWriter lets others use what the stream has used.
func (c *Coordinator) releaseWriter() {
	c.reg.mu.Lock()
	defer c.reg.mu.Unlock()
	maps.DeleteFunc(c.reg.writers, func(_ string, of *Coordinator) bool { return of == c })
}

// writerSuffix tells processes of a job apart. It stays the same over restarts where
// partitions are assigned by configuration. A member of a group that has no name of its own
// is another one at each start: which partitions it has is the group's to say.
func (c *Coordinator) writerSuffix(conf checkpoint.Config) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var partitions []string
	for _, s := range c.mu.sources {
		if !s.conf.Static {
			if s.conf.Instance != "" {
				return s.conf.Instance
			}
			return strings.ToLower(rand.Text()[:13])
		}
		for _, p := range s.conf.Partitions {
			partitions = append(partitions, s.name+"/"+p)
		}
	}
	if len(partitions) > 0 {
		slices.Sort(partitions)
		sum := sha256.Sum256([]byte(strings.Join(partitions, "\n")))
		return "p" + hex.EncodeToString(sum[:6])
	}
	return fmt.Sprintf("%d-of-%d", conf.Shard.Index, max(conf.Shard.Count, 1))
}
