package output

import "github.com/tidemarkhq/tidemark/internal/engine"

// share makes the records go into a transaction. It is called before there are any.
func (p *producer) share(t *engine.Transaction) {
	p.transaction, p.client = t, t.Client()
	p.topics.client = p.client
}

// holdBack makes what arrives from now on wait for the next transaction.
func (p *producer) holdBack() {
	p.gate.Lock()
	defer p.gate.Unlock()
	p.gate.holding = true
}

// hold keeps a slab for the next transaction. It is called with the gate held for reading.
func (p *producer) hold(s *slab) {
	p.held.Lock()
	defer p.held.Unlock()
	p.held.slabs = append(p.held.slabs, s)
}

// release hands over what was held back, before anything that arrives from now on. What
// belongs to an abandoned attempt was dropped when that ended.
func (p *producer) release() {
	p.gate.Lock()
	defer p.gate.Unlock()
	if p.gate.discarding {
		return
	}
	p.gate.holding = false
	cl := p.client.Load()
	for _, s := range p.takeHeld() {
		s.launch(cl)
	}
}

// dropHeld fails what was held back. It is called with the gate held.
func (p *producer) dropHeld(why error) {
	for _, s := range p.takeHeld() {
		for i := range s.records {
			s.settle(&s.records[i], why)
		}
	}
}

func (p *producer) takeHeld() []*slab {
	p.held.Lock()
	defer p.held.Unlock()
	slabs := p.held.slabs
	p.held.slabs = nil
	return slabs
}
