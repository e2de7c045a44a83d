package kafkatest

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"text/template"
	"time"
)

// Versions of Apache Kafka that the tests run on; any other that Maven Central
// has works too, those from 3.7 on with Real, those from 0.8.2 to 3.9 with Old.
const (
	Newest = "4.1.0"
	// Kafka39 is the last line before 4.0: no KIP-848 groups, no TV2 transactions.
	Kafka39 = "3.9.1"
)

// errMissing says that this machine lacks what real brokers need.
var errMissing = errors.New("real Kafka is not available here")

// pom asks Maven for a broker and for the logging that its version was built for:
// Kafka's own POM brings none, and without one a broker that fails says nothing.
var pom = template.Must(template.New("pom").Parse(`<project xmlns="http://maven.apache.org/POM/4.0.0">
<modelVersion>4.0.0</modelVersion>
<groupId>tidemark</groupId><artifactId>kafka</artifactId><version>1</version><packaging>pom</packaging>
<dependencies>
<dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_{{.Scala}}</artifactId><version>{{.Version}}</version></dependency>
{{- if .Log4j2}}
<dependency><groupId>org.apache.logging.log4j</groupId><artifactId>log4j-slf4j-impl</artifactId><version>2.24.3</version></dependency>
<dependency><groupId>org.apache.logging.log4j</groupId><artifactId>log4j-core</artifactId><version>2.24.3</version></dependency>
{{- else if .Log4j1}}
<dependency><groupId>org.slf4j</groupId><artifactId>slf4j-reload4j</artifactId><version>1.7.36</version></dependency>
{{- end}}
{{- if .JAXB}}
<dependency><groupId>javax.xml.bind</groupId><artifactId>jaxb-api</artifactId><version>2.3.1</version></dependency>
{{- end}}
{{- if .ZooKeeper}}
<dependency><groupId>org.apache.zookeeper</groupId><artifactId>zookeeper</artifactId><version>3.5.9</version><exclusions>
<exclusion><groupId>org.slf4j</groupId><artifactId>slf4j-log4j12</artifactId></exclusion>
<exclusion><groupId>log4j</groupId><artifactId>log4j</artifactId></exclusion>
</exclusions></dependency>
{{- end}}
</dependencies>
</project>
`))

// The broker logs to its standard output, in either generation of log4j.
const (
	log4j1 = `log4j.rootLogger=INFO, out
log4j.appender.out=org.apache.log4j.ConsoleAppender
log4j.appender.out.layout=org.apache.log4j.PatternLayout
log4j.appender.out.layout.ConversionPattern=[%d] %p %m (%c)%n
`
	log4j2 = `appender.out.type=Console
appender.out.name=out
appender.out.layout.type=PatternLayout
appender.out.layout.pattern=[%d] %p %m (%c)%n
rootLogger.level=info
rootLogger.appenderRef.out.ref=out
`
)

// distribution is one version of Kafka, ready to run, in the cache.
type distribution struct {
	java string
	// dir holds lib (the jars), formatted (an empty, formatted data folder),
	// classes.jsa (see train), log4j.properties, and at last the file complete.
	dir     string
	log4j2  bool
	version release
}

// install returns a version of Kafka, fetched if the cache does not hold it yet.
// Processes that want the same one wait for the first of them.
func install(version string) (*distribution, error) {
	java, err := exec.LookPath("java")
	if err != nil {
		return nil, fmt.Errorf("%w: no java on the PATH (install a JDK, 17 or newer)", errMissing)
	}
	cache, err := cacheDir()
	if err != nil {
		return nil, err
	}
	number, err := parseRelease(version)
	if err != nil {
		return nil, err
	}
	d := &distribution{java: java, log4j2: number.atLeast(4), version: number}
	var doc bytes.Buffer
	if err := pom.Execute(&doc, number.jars(version)); err != nil {
		return nil, fmt.Errorf("writing the POM: %w", err)
	}
	// A POM that changed needs other jars.
	sum := fnv.New32a()
	sum.Write(doc.Bytes())
	d.dir = filepath.Join(cache, fmt.Sprintf("%s-%08x", version, sum.Sum32()))

	unlock, err := lockFile(d.dir+".lock", true)
	if err != nil {
		return nil, err
	}
	defer unlock()
	complete := filepath.Join(d.dir, "complete")
	if _, err := os.Stat(complete); err == nil {
		return d, nil
	}
	if err := d.fetch(doc.Bytes()); err != nil {
		return nil, err
	}
	if d.version.atLeast(formatsSince...) {
		if err := d.format(); err != nil {
			return nil, err
		}
		d.train()
	}
	if err := os.WriteFile(complete, nil, 0o600); err != nil {
		return nil, fmt.Errorf("completing the cache: %w", err)
	}
	return d, nil
}

// fetch fills the distribution's folder with what Maven brings, and with what the
// JVM is configured by.
func (d *distribution) fetch(doc []byte) error {
	mvn, err := exec.LookPath("mvn")
	if err != nil {
		return fmt.Errorf("%w: no mvn on the PATH to fetch it with (install Maven)", errMissing)
	}
	// Whatever is there was left by a process that did not get to its end.
	if err := os.RemoveAll(d.dir); err != nil {
		return fmt.Errorf("clearing the cache: %w", err)
	}
	if err := os.MkdirAll(d.dir, 0o755); err != nil {
		return fmt.Errorf("making the cache: %w", err)
	}
	logging := log4j1
	if d.log4j2 {
		logging = log4j2
	}
	for name, content := range map[string]string{"pom.xml": string(doc), "log4j.properties": logging} {
		if err := os.WriteFile(filepath.Join(d.dir, name), []byte(content), 0o600); err != nil {
			return fmt.Errorf("writing the cache: %w", err)
		}
	}
	// Maven Central is far away: what fails once may well work the next time.
	for try := 1; ; try++ {
		err = run(5*time.Minute, mvn, "-B", "-q", "-f", filepath.Join(d.dir, "pom.xml"),
			"dependency:copy-dependencies", "-DincludeScope=runtime", "-DoutputDirectory="+filepath.Join(d.dir, "lib"))
		if err == nil {
			return nil
		}
		if try == 3 {
			return fmt.Errorf("%w: fetching it: %w", errMissing, err)
		}
	}
}

// format makes the data folder that new brokers get a copy of. Kafka's tool takes
// more than a second, and nothing that it writes depends on the broker's port.
func (d *distribution) format() error {
	props := filepath.Join(d.dir, "format.properties")
	data := filepath.Join(d.dir, "formatted")
	conf := "process.roles=broker,controller\nnode.id=1\ncontroller.quorum.voters=1@127.0.0.1:1\n" +
		"listeners=CONTROLLER://127.0.0.1:1,PLAINTEXT://127.0.0.1:2\ncontroller.listener.names=CONTROLLER\nlog.dirs=" + data + "\n"
	if err := os.WriteFile(props, []byte(conf), 0o600); err != nil {
		return fmt.Errorf("formatting: %w", err)
	}
	args := append(d.jvm(), "kafka.tools.StorageTool", "format", "-t", formattedID, "-c", props)
	if err := run(time.Minute, d.java, args...); err != nil {
		return fmt.Errorf("formatting: %w", err)
	}
	return nil
}

// train runs a broker once, to keep an archive of the classes that it loads: with
// it all later ones start in half the time and CPU. Without it they start too, so
// a failure is of no interest.
func (d *distribution) train() {
	home := filepath.Join(d.dir, "training")
	defer os.RemoveAll(home)
	if err := os.MkdirAll(home, 0o755); err != nil {
		return
	}
	b, err := d.broker(home, nil)
	if err != nil {
		return
	}
	if err := b.start("-XX:ArchiveClassesAtExit=" + d.archive()); err == nil {
		b.proc.stop(startTime)
	}
	b.proc.kill()
}

func (d *distribution) archive() string { return filepath.Join(d.dir, "classes.jsa") }

// jvm returns the arguments that every JVM of the distribution gets.
func (d *distribution) jvm() []string {
	logging := "-Dlog4j.configuration=file:"
	if d.log4j2 {
		logging = "-Dlog4j2.configurationFile=file:"
	}
	args := []string{
		"-Xms128m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Djava.net.preferIPv4Stack=true",
		// The log4j that is here lacks what ZooKeeper before 3.5 would register with it.
		"-Dzookeeper.jmx.log4j.disable=true",
		logging + filepath.Join(d.dir, "log4j.properties"), "-cp", filepath.Join(d.dir, "lib", "*"),
	}
	if _, err := os.Stat(d.archive()); err == nil {
		// Ignored, not an error, where the JVM has changed since.
		args = append(args, "-XX:SharedArchiveFile="+d.archive())
	}
	return args
}

// prepare makes data a formatted folder if it is not one yet, of a cluster of its own: the
// copies would be one cluster to whoever compares their ids.
func (d *distribution) prepare(data string) error {
	if _, err := os.Stat(filepath.Join(data, "meta.properties")); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.MkdirAll(data, 0o755); err != nil {
		return fmt.Errorf("making the data folder: %w", err)
	}
	if err := os.CopyFS(data, os.DirFS(filepath.Join(d.dir, "formatted"))); err != nil {
		return fmt.Errorf("copying the formatted data folder: %w", err)
	}
	meta := filepath.Join(data, "meta.properties")
	text, err := os.ReadFile(meta)
	if err != nil {
		return fmt.Errorf("reading the id of the cluster: %w", err)
	}
	text = bytes.Replace(text, []byte("cluster.id="+formattedID), []byte("cluster.id="+newClusterID()), 1)
	if err := os.WriteFile(meta, text, 0o600); err != nil {
		return fmt.Errorf("writing the id of the cluster: %w", err)
	}
	return nil
}

// formattedID is the id of the cluster that was formatted, of which all others are copies.
const formattedID = "dGlkZW1hcmstdGVzdHMtMQ"

// newClusterID makes an id as Kafka does: 16 bytes in base64, without a dash in front, which
// its tools would take for an option.
func newClusterID() string {
	id := make([]byte, 16)
	_, _ = rand.Read(id) // never fails
	id[0] &= 0x7f
	return base64.RawURLEncoding.EncodeToString(id)
}

// run runs a program; its output is in the error.
func run(within time.Duration, name string, args ...string) error {
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("running %s: %w\n%s", filepath.Base(name), err, lastLines(out, 30))
	}
	return nil
}

// cacheDir returns the folder for everything that outlives a test.
func cacheDir() (string, error) {
	dir := os.Getenv("TIDEMARK_KAFKA_CACHE")
	if dir == "" {
		user, err := os.UserCacheDir()
		if err != nil {
			return "", fmt.Errorf("finding a cache folder (set TIDEMARK_KAFKA_CACHE): %w", err)
		}
		dir = filepath.Join(user, "tidemark", "kafka")
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("finding the cache folder: %w", err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("making the cache folder: %w", err)
	}
	return dir, nil
}

// lockFile locks a file against other processes and other callers until unlock,
// at the latest until this process ends. Without wait it fails if it is locked.
func lockFile(path string, wait bool) (unlock func(), err error) {
	// Not an os.File: the collector would close one that nobody refers to any more,
	// and some locks are for the life of the process.
	fd, err := syscall.Open(path, syscall.O_CREAT|syscall.O_RDWR|syscall.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening lock file %s: %w", path, err)
	}
	how := syscall.LOCK_EX
	if !wait {
		how |= syscall.LOCK_NB
	}
	for {
		err = syscall.Flock(fd, how)
		if !errors.Is(err, syscall.EINTR) {
			break
		}
	}
	if err != nil {
		_ = syscall.Close(fd)
		return nil, fmt.Errorf("locking %s: %w", path, err)
	}
	return func() { _ = syscall.Close(fd) }, nil
}

// lastLines returns the end of a text.
func lastLines(text []byte, n int) []byte {
	lines := bytes.Split(bytes.TrimRight(text, "\n"), []byte("\n"))
	return bytes.Join(lines[max(0, len(lines)-n):], []byte("\n"))
}
