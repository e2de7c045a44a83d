package main

import (
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/sr"
	"github.com/twmb/franz-go/pkg/sr/srfake"
)

func runFormats(t *testing.T, k *kafka, p *pipeline) {
	k.produce("orders-csv", `anna;2;19.90`, `anna;two;1`, `"ben;jr";1;1e30`)
	p.start()
	k.waitEnd("orders-json", 2)
	k.waitEnd("orders-unreadable", 1)
	var got []string
	for _, r := range k.read("orders-json", 2) {
		got = append(got, string(r.Key)+" "+string(r.Value))
	}
	assert.ElementsMatch(t, []string{
		`{"customer":"anna"} {"customer":"anna","price":19.90,"quantity":2}`,
		`{"customer":"ben;jr"} {"customer":"ben;jr","price":1e30,"quantity":1}`,
	}, got)
	dead := k.read("orders-unreadable", 1)[0]
	assert.Equal(t, "anna;two;1", string(dead.Value))
	assert.Contains(t, header(dead, "__tidemark.errors.message"), "quantity")
}

func runSchemaRegistry(t *testing.T, k *kafka, p *pipeline) {
	const (
		old     = `{"type": "record", "name": "Order", "fields": [{"name": "customer", "type": "string"}, {"name": "price_cents", "type": "long"}]}`
		newer   = `{"type": "record", "name": "Order", "fields": [{"name": "customer", "type": "string"}, {"name": "price_cents", "type": "long"}, {"name": "quantity", "type": "int", "default": 1}]}`
		subject = "orders-value"
	)
	reg := srfake.NewRegistry()
	for _, schema := range []string{old, newer} {
		_, _, err := reg.RegisterSchema(subject, sr.Schema{Schema: schema})
		require.NoError(t, err)
	}
	server := httptest.NewServer(reg.Handler())
	t.Cleanup(server.Close)
	p.set("SCHEMA_REGISTRY", server.URL)
	// The customer a pays 3 cents by the old schema, and 4 times 5 cents by the new one.
	k.produce("orders", "\x00\x00\x00\x00\x01\x02a\x06", "\x00\x00\x00\x00\x02\x02a\x0a\x08")
	p.start()
	k.waitEnd("order-totals", 2)
	var got []string
	for _, r := range k.read("order-totals", 2) {
		got = append(got, string(r.Value))
	}
	assert.ElementsMatch(t, []string{"\x00\x00\x00\x00\x03\x02a\x06", "\x00\x00\x00\x00\x03\x02a\x28"}, got)
	assert.True(t, reg.SubjectExists("order-totals-value"))
}
