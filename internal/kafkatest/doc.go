// Package kafkatest gives tests a Kafka to talk to, and ways to make it misbehave.
//
// There are three kinds of broker. All are an Endpoint, so a test written for one
// runs on the others:
//
//	c := kafkatest.Fake(t)                        // in process, real sockets
//	c := kafkatest.Virtual(t)                     // in process, for testing/synctest bubbles
//	b := kafkatest.Real(t, kafkatest.Newest)      // Apache Kafka in a JVM, this test's own
//	b := kafkatest.Old(t, kafkatest.Kafka08)      // an old one, with its ZooKeeper
//	b := kafkatest.Shared(t)                      // Apache Kafka, one for the test process
//
//	topic := kafkatest.Topic(t, b, 4)
//	kafkatest.Fill(t, b, topic, 1000)
//	got := kafkatest.ReadCommitted(t, b, topic)   // by partition, in offset order
//
// Secure is a real broker with a listener for each way to be secure, ACLs, and a KDC:
//
//	b := kafkatest.Secure(t)                      // one for the test process
//	e := b.At(kafkatest.SASLTLS)                  // one of its listeners
//	b.Realm.Login(t, cache, kafkatest.User, b.Keytab)
//
// A Proxy stands in front of any of them and delays, holds, cuts and counts
// requests by API key, "between flush and commit" for example:
//
//	p := kafkatest.NewProxy(t, b)
//	h := p.HoldRequests(kmsg.OffsetCommit)
//	…
//	h.Await(t, 1, 10*time.Second)
//
// # Duties of the caller
//
//  1. Never share what Virtual returns between bubbles; call it inside one.
//  2. Use topic names of Topic and group names of Unique on a shared broker, and
//     assume nothing about what else is on it.
//  3. Call everything that takes a testing.TB on the test's own goroutine: it may
//     end the test.
//
// # What real brokers need
//
// A JDK (17 or newer) and Maven, which fetches Kafka's jars once into
// $TIDEMARK_KAFKA_CACHE, or else into a folder under the user's cache folder.
// Secure also needs MIT Kerberos: krb5kdc, kdb5_util, kadmin.local and kinit, in Debian the
// packages krb5-kdc, krb5-admin-server and krb5-user. Its KDC has a folder and a port of its
// own and needs no privileges.
//
// Where they are missing the test is skipped and says why; with CI=true it fails.
// Brokers die with the test process, however that ends.
package kafkatest
