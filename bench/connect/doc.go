// Command connect is Redpanda Connect with nothing but its Kafka components: the
// peer that the benchmark compares with. It is a module of its own, so that the
// peer runs with exactly the dependencies of its release.
package main
