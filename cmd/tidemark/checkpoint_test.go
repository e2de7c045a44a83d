package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// keeping is a pipeline that copies what it has not seen, and keeps its checkpoints in a
// folder.
func keeping(k *kafka, dir, extra string) string {
	return keepingIn(k, fmt.Sprintf("directory: %q", dir), extra)
}

// keepingIn is keeping with a store of any kind.
func keepingIn(k *kafka, store, extra string) string {
	return fmt.Sprintf(`
input:
  kafka_checkpointed:
    seed_brokers: [ %[1]s ]
    topics: [ in ]
    start_from: earliest
    checkpoint: { interval: 100ms, job: orders, store: { %[2]s }%[3]s }
pipeline:
  processors:
    - dedupe: { cache: seen, key: '${! content() }' }
cache_resources:
  - label: seen
    checkpointed: {}
output:
  kafka_checkpointed:
    seed_brokers: [ %[1]s ]
    topic: out
`, k.addr, store, extra)
}

// tidemark runs a command to its end and returns what it printed.
func tidemark(t *testing.T, args ...string) string {
	t.Helper()
	c := start(t, "", nil, args...)
	require.Zero(t, c.code(), "%v: %s", args, c.text())
	return c.text()
}

// refused runs a command that fails, in one line.
func refused(t *testing.T, want string, args ...string) {
	t.Helper()
	c := start(t, "", nil, args...)
	assert.Equal(t, 1, c.code(), "%v: %s", args, c.text())
	assert.Contains(t, c.text(), want, "%v", args)
	assert.Equal(t, 1, strings.Count(strings.TrimSpace(c.text()), "\n")+1, "%v: %s", args, c.text())
}

// listed is what `checkpoint list -o json` prints.
func listed(t *testing.T, dir string) (job string, ids []int) {
	t.Helper()
	var l struct {
		Job, Store, Share string
		Checkpoints       []struct {
			ID, Partitions int
			Final          bool
		}
	}
	require.NoError(t, json.Unmarshal([]byte(tidemark(t, "checkpoint", "list", "--directory", dir, "-o", "json")), &l))
	assert.Equal(t, "directory", l.Store)
	assert.Equal(t, "all partitions", l.Share)
	for _, c := range l.Checkpoints {
		assert.Equal(t, 2, c.Partitions)
		ids = append(ids, c.ID)
	}
	return l.Job, ids
}

func TestCheckpointsOfAStoppedJob(t *testing.T) {
	k := startKafka(t)
	dir := filepath.Join(t.TempDir(), "store")
	path := write(t, "dedupe.yaml", noHTTP+keeping(k, dir, ", retain: 3"))
	k.produce("in", "a", "b", "a")
	for round := range 4 { // each ends with a checkpoint
		c := start(t, "", nil, "run", path)
		k.waitEnd("out", 2+int64(round))
		c.signal(os.Interrupt)
		require.Zero(t, c.code(), c.text())
		k.produce("in", fmt.Sprint("n", round))
	}

	job, ids := listed(t, dir)
	require.Equal(t, "orders", job)
	require.Len(t, ids, 3)
	last := strconv.Itoa(ids[2])
	text := tidemark(t, "checkpoint", "list", "--directory", dir)
	assert.Contains(t, text, "orders  directory "+dir+", all partitions")
	assert.Regexp(t, `(?m)^`+last+` +\d{4}-\d\d-\d\dT\S+Z +2 +aligned +yes$`, text)

	text = tidemark(t, "checkpoint", "show", "--directory", dir)
	assert.Regexp(t, `(?m)^orders +`+last+` +\S+Z +aligned +yes +directory `, text)
	assert.Regexp(t, `(?m)^input:in/[01] +6 +- +\d+ +-$`, text)
	assert.Regexp(t, `(?m)^seen +1 +5 +\d+ B$`, text)

	// What an export holds is what the store holds, and so is what is made of it.
	dump := func(args ...string) map[string]any {
		var d map[string]any
		require.NoError(t, json.Unmarshal([]byte(tidemark(t, append([]string{"checkpoint", "show", "-o", "json"}, args...)...)), &d))
		delete(d, "place")
		return d
	}
	file, moved := filepath.Join(t.TempDir(), "orders.savepoint"), filepath.Join(t.TempDir(), "moved")
	text = tidemark(t, "checkpoint", "export", "--directory", dir, "--to", file)
	assert.Regexp(t, "^Exported checkpoint "+last+" of job orders to "+file+`: 2 partitions, 5 values of state \(\d+ B\)`, text)
	assert.Equal(t, dump("--directory", dir), dump("--file", file))
	text = tidemark(t, "checkpoint", "import", "--from", file, "--directory", moved)
	assert.Regexp(t, "^Imported checkpoint "+last+" of job orders into "+moved+`, for all partitions: 2 partitions, 5 values of state`, text)
	assert.Equal(t, dump("--directory", dir), dump("--directory", moved))
	earlier := filepath.Join(t.TempDir(), "earlier.savepoint")
	tidemark(t, "checkpoint", "export", "--directory", dir, "--id", strconv.Itoa(ids[0]), "--to", earlier)
	assert.EqualValues(t, ids[0], dump("--file", earlier)["id"])

	// The job goes on there.
	k.produce("in", "a", "b", "c")
	end := k.end("out")
	c := start(t, "", nil, "run", write(t, "dedupe.yaml", noHTTP+keeping(k, moved, "")))
	k.waitEnd("out", end+2) // c, and what the last run has not read
	c.signal(os.Interrupt)
	require.Zero(t, c.code(), c.text())

	refused(t, "file already exists: give the savepoint another name", "checkpoint", "export", "--directory", dir, "--to", file)
	refused(t, `it holds a store of job "orders"`, "checkpoint", "import", "--directory", moved, "--from", file)
	refused(t, "which cannot be split: import it into a store of all partitions", "checkpoint", "import", "--from", file, "--shard", "0/2", "--directory", moved+"2")
	refused(t, "both hold partition input:in/", "checkpoint", "import", "--from", file, "--from", earlier, "--directory", moved+"2")
	require.NoDirExists(t, moved+"2")
	bytes, err := os.ReadFile(file)
	require.NoError(t, err)
	bytes[len(bytes)/2] ^= 1
	altered := write(t, "altered.savepoint", string(bytes))
	refused(t, "--from "+altered+": reading savepoint", "checkpoint", "import", "--directory", moved+"2", "--from", altered)

	refused(t, "is the last one", "checkpoint", "delete", "--directory", dir, "--id", last)
	assert.Equal(t, fmt.Sprintf("Deleted checkpoint %d of job orders\n", ids[0]), tidemark(t, "checkpoint", "delete", "-d", dir, "--id", strconv.Itoa(ids[0])))
	_, left := listed(t, dir)
	assert.Equal(t, ids[1:], left)
	refused(t, "confirm it with --yes", "checkpoint", "delete", "--directory", dir, "--all")
	tidemark(t, "checkpoint", "delete", "--directory", dir, "--all", "--yes")
	refused(t, "no checkpoint store in "+dir, "checkpoint", "list", "--directory", dir)
	tidemark(t, "checkpoint", "import", "--from", file, "--directory", dir, "--job", "renamed", "--shard", "0/1")
	assert.Contains(t, tidemark(t, "checkpoint", "list", "--directory", dir), "renamed  directory "+dir+", shard 0 of 1 of all partitions")
}

// A mistake is answered by the flag, its value and the remedy, in one line.
func TestCheckpointFlags(t *testing.T) {
	file := write(t, "x.yaml", "not a savepoint")
	missing := filepath.Join(t.TempDir(), "missing")
	for want, args := range map[string][]string{
		"none of --directory, --topic and --config is set":                        {"list"},
		"--directory and --topic are set: remove one of them":                     {"list", "--directory", missing, "--topic", "t"},
		"--brokers is not set: name a broker":                                     {"list", "--topic", "t"},
		"--brokers is set, which goes with --topic":                               {"list", "--directory", missing, "--brokers", "x:1"},
		"--job is set, and the store is a folder":                                 {"list", "--directory", missing, "--job", "x"},
		"--force is set, and the store is a folder":                               {"delete", "--directory", missing, "--all", "--force"},
		"--config " + file + ": no input kafka_checkpointed of the pipeline":      {"list", "--config", file},
		"--shard is set, and the store is a topic":                                {"import", "--topic", "t", "--brokers", "x:1", "--from", file, "--shard", "0/1"},
		"no checkpoint store in " + missing:                                       {"list", "--directory", missing},
		"--output is \"xml\": use text or json":                                   {"list", "--directory", missing, "-o", "xml"},
		"none of --directory, --topic, --config and --file is set":                {"show"},
		"remove the others":                                                       {"show", "--file", file, "--id", "3"},
		"--file " + file + ": reading savepoint " + file + ": corrupt checkpoint": {"show", "--file", file},
		"--id is 0: use the number of a checkpoint":                               {"export", "--directory", missing, "--id", "0"},
		"--to is not set: name the file to write":                                 {"export", "--directory", missing},
		"--from is not set: name a savepoint file":                                {"import", "--directory", missing},
		"no such file":                                                        {"import", "--directory", missing, "--from", missing},
		`--shard is "3/3": use INDEX/COUNT`:                                   {"import", "--directory", missing, "--from", file, "--shard", "3/3"},
		`--shard is "1": use INDEX/COUNT`:                                     {"import", "--directory", missing, "--from", file, "--shard", "1"},
		"--job is 250 bytes long":                                             {"import", "--directory", missing, "--from", file, "--job", strings.Repeat("j", 250)},
		`unexpected argument "b": everything is given by flags; repeat`:       {"import", "--directory", missing, "--from", "a", "b"},
		"neither --id nor --all is set: say what to delete":                   {"delete", "--directory", missing},
		"--id and --all are set: remove one of them":                          {"delete", "--directory", missing, "--id", "1", "--all"},
		`checkpoint has no command "frob": use list, show, export, import or`: {"frob"},
	} {
		refused(t, want, append([]string{"checkpoint"}, args...)...)
	}
	require.NoDirExists(t, missing, "looking makes nothing")
}

// savepoints is the answer to a request for savepoints.
type savepoints struct {
	Savepoints []struct {
		Stream, Job, File, Error string
		Checkpoint, Keys         int
		Partitions               int
		State                    bool
	}
	Error string
}

func requestSavepoint(t *testing.T, port int) (status int, s savepoints) {
	t.Helper()
	res, err := http.Post(fmt.Sprintf("http://127.0.0.1:%d/savepoint", port), "", nil)
	require.NoError(t, err)
	defer res.Body.Close()
	require.NoError(t, json.NewDecoder(res.Body).Decode(&s))
	return res.StatusCode, s
}

// A running job gives out savepoints, goes on, and each of them is where another one
// begins.
func TestSavepointsOfARunningJob(t *testing.T) {
	k := startKafka(t)
	root := t.TempDir()
	dir, to := filepath.Join(root, "store"), filepath.Join(root, "savepoints")
	port := freePort(t)
	control := fmt.Sprintf("TIDEMARK_CONTROL_ADDRESS=127.0.0.1:%d", port)
	k.produce("in", "a", "b", "a")
	c := start(t, "", []string{control}, "run", write(t, "dedupe.yaml", noHTTP+keeping(k, dir, fmt.Sprintf(", savepoint_directory: %q", to))))
	k.waitEnd("out", 2)
	refused(t, "is in use by process "+strconv.Itoa(c.cmd.Process.Pid), "checkpoint", "export", "--directory", dir, "--to", filepath.Join(root, "x"))
	refused(t, "ask it for a savepoint", "checkpoint", "list", "--directory", dir)

	c.signal(savepointSignal(t))
	signalled := c.waitFor(`Savepoint of checkpoint \d+ written to (\S+): 2 partitions, 2 values of state`)[1]
	k.produce("in", "b", "c")
	k.waitEnd("out", 3)
	status, answer := requestSavepoint(t, port)
	require.Equal(t, http.StatusOK, status)
	require.Len(t, answer.Savepoints, 1)
	requested := answer.Savepoints[0]
	assert.Equal(t, "orders", requested.Job)
	assert.Equal(t, 2, requested.Partitions)
	assert.Equal(t, 3, requested.Keys)
	assert.True(t, requested.State)
	assert.Equal(t, to, filepath.Dir(requested.File))
	res, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/savepoint", port))
	require.NoError(t, err)
	res.Body.Close()
	assert.Equal(t, http.StatusMethodNotAllowed, res.StatusCode)
	k.produce("in", "d")
	k.waitEnd("out", 4)
	c.signal(os.Interrupt)
	require.Zero(t, c.code(), c.text())

	// Two records more were read after the first savepoint that had not been seen before, one
	// after the second. They come again, and nothing else.
	for i, tc := range []struct {
		file  string
		again int64
	}{{signalled, 2}, {requested.File, 1}} {
		moved := filepath.Join(root, fmt.Sprint("moved", i))
		tidemark(t, "checkpoint", "import", "--from", tc.file, "--directory", moved)
		before, fresh := k.end("out"), fmt.Sprint("fresh", i)
		// All that was written since has to be taken into account, too.
		k.produce("in", "a", fresh)
		c = start(t, "", nil, "run", write(t, "dedupe.yaml", noHTTP+keeping(k, moved, "")))
		want := before + tc.again + int64(i+1)
		k.waitEnd("out", want)
		c.signal(os.Interrupt)
		require.Zero(t, c.code(), c.text())
		require.Equal(t, want, k.end("out"))
	}
}

// Requests that cannot be met are answered, and the job goes on.
func TestSavepointsThatAreRefused(t *testing.T) {
	k := startKafka(t)
	port := freePort(t)
	control := fmt.Sprintf("TIDEMARK_CONTROL_ADDRESS=127.0.0.1:%d", port)
	k.produce("in", "a")
	c := start(t, "", []string{control}, "run", write(t, "copy.yaml", noHTTP+copyOf(k, "in", "out")))
	k.waitEnd("out", 1)
	status, answer := requestSavepoint(t, port)
	require.Equal(t, http.StatusInternalServerError, status)
	require.Len(t, answer.Savepoints, 1)
	require.Contains(t, answer.Savepoints[0].Error, "checkpoint.savepoint_directory is not set")
	c.signal(savepointSignal(t))
	c.waitFor("No savepoint was taken: checkpoint.savepoint_directory is not set[^$]*No savepoint was taken")
	k.produce("in", "b")
	k.waitEnd("out", 2)
	c.signal(os.Interrupt)
	require.Zero(t, c.code(), c.text())

	c = start(t, "", []string{control}, "run", write(t, "generate.yaml", noHTTP+"input: { generate: { mapping: root = 1, interval: 1s } }\noutput: { drop: {} }"))
	c.waitFor("active")
	status, answer = requestSavepoint(t, port)
	require.Equal(t, http.StatusConflict, status)
	require.Equal(t, "no stream is running", answer.Error)
	c.signal(savepointSignal(t))
	c.waitFor("no savepoint was taken: no stream is running")
	c.signal(os.Interrupt)
	require.Zero(t, c.code(), c.text())

	c = start(t, "", []string{"TIDEMARK_CONTROL_ADDRESS=nowhere"}, "run", write(t, "copy.yaml", noHTTP+copyOf(k, "in", "out")))
	require.Equal(t, 1, c.code())
	require.Contains(t, c.text(), `TIDEMARK_CONTROL_ADDRESS is "nowhere"`)
}

// In streams mode every stream gives out a savepoint of its own.
func TestSavepointsInStreamsMode(t *testing.T) {
	k := startKafka(t)
	port, to := freePort(t), t.TempDir()
	root, dir := write(t, "root.yaml", noHTTP), t.TempDir()
	for _, s := range []string{"a", "b"} {
		k.produce("in-"+s, "1", "2")
		conf := strings.Replace(copyOf(k, "in-"+s, "out-"+s), "interval: 100ms", fmt.Sprintf("interval: 100ms, savepoint_directory: %q", to), 1)
		require.NoError(t, os.WriteFile(filepath.Join(dir, s+".yaml"), []byte(conf), 0o600))
	}
	c := start(t, "", []string{fmt.Sprintf("TIDEMARK_CONTROL_ADDRESS=127.0.0.1:%d", port)}, "streams", "--no-api", "-o", root, dir)
	k.waitEnd("out-a", 2)
	k.waitEnd("out-b", 2)
	status, answer := requestSavepoint(t, port)
	require.Equal(t, http.StatusOK, status)
	require.Len(t, answer.Savepoints, 2)
	for i, s := range answer.Savepoints {
		require.Equal(t, []string{"a", "b"}[i], s.Stream)
		require.False(t, s.State, "there is no store")
		require.Contains(t, tidemark(t, "checkpoint", "show", "--file", s.File), "There is no store, so positions are all it holds.")
	}
	c.signal(os.Interrupt)
	require.Zero(t, c.code(), c.text())
}
