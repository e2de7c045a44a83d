package registry

import (
	"context"
	"fmt"
	"math"
	"strconv"

	"github.com/twmb/franz-go/pkg/sr"

	"github.com/tidemarkhq/tidemark/format"
)

// bundle is a schema with all that it refers to.
type bundle struct {
	text string
	typ  sr.SchemaType
	// imports are the references, and theirs, each before what refers to it.
	imports []imported
}

// imported is a schema that another one refers to by name.
type imported struct {
	name, text string
}

// mostImports bounds the references of a schema. Registries allow no cycles.
const mostImports = 1000

// schema returns the one with an id.
func (c *Client) schema(ctx context.Context, id int) (sr.Schema, error) {
	if id <= 0 || id > math.MaxInt32 {
		return sr.Schema{}, fmt.Errorf("no schema has the id %d", id)
	}
	return c.byID.get(ctx, id, 0, func(ctx context.Context) (sr.Schema, error) {
		s, err := c.schemaOnce(ctx, id)
		if err != nil && !format.IsUnavailable(err) && c.wait(ctx, 0) == nil {
			// A registry of several nodes may not yet know on one what another has just
			// registered, and the record would be taken for a bad one.
			s, err = c.schemaOnce(ctx, id)
		}
		return s, err
	})
}

func (c *Client) schemaOnce(ctx context.Context, id int) (s sr.Schema, err error) {
	err = c.ask(ctx, "schema "+strconv.Itoa(id), unknown, func(ctx context.Context, cl *sr.Client) (err error) {
		s, err = cl.SchemaByID(ctx, id)
		return err
	})
	return s, err
}

// version returns a version of a subject, -1 for the latest.
func (c *Client) version(ctx context.Context, v version) (sr.SubjectSchema, error) {
	name, holds := strconv.Itoa(v.number), c.config.Refresh
	if v.number > 0 {
		holds = 0
	} else {
		name = "latest"
	}
	return c.byVersion.get(ctx, v, holds, func(ctx context.Context) (sr.SubjectSchema, error) {
		var s sr.SubjectSchema
		err := c.ask(ctx, fmt.Sprintf("version %s of subject %q", name, v.subject), unknown, func(ctx context.Context, cl *sr.Client) (err error) {
			s, err = cl.SchemaByVersion(ctx, v.subject, v.number)
			return err
		})
		return s, err
	})
}

// register returns the id of a schema under a subject, and registers it there if it may.
func (c *Client) register(ctx context.Context, subject string, s sr.Schema, may bool) (int, error) {
	var id int
	what, do := fmt.Sprintf("registering a schema under subject %q", subject), func(ctx context.Context, cl *sr.Client) (err error) {
		id, err = cl.RegisterSchema(ctx, subject, s, -1, -1)
		return err
	}
	if !may {
		what, do = fmt.Sprintf("looking for the schema under subject %q, where it is not registered by us as `register` is false", subject), func(ctx context.Context, cl *sr.Client) error {
			found, err := cl.LookupSchema(ctx, subject, s)
			id = found.ID
			return err
		}
	}
	err := c.ask(ctx, what, unacceptable, do)
	if err == nil && id <= 0 {
		err = fmt.Errorf("%s: the registry answered with the id %d", what, id)
	}
	return id, err
}

// collect fetches what a schema refers to.
func (c *Client) collect(ctx context.Context, s sr.Schema) (*bundle, error) {
	b := &bundle{text: s.Schema, typ: s.Type}
	seen := make(map[string]sr.SchemaReference)
	return b, c.follow(ctx, b, s.References, seen)
}

func (c *Client) follow(ctx context.Context, b *bundle, refs []sr.SchemaReference, seen map[string]sr.SchemaReference) error {
	for _, r := range refs {
		if before, ok := seen[r.Name]; ok {
			if before.Subject != r.Subject || before.Version != r.Version {
				return fmt.Errorf("reference %q is to version %d of subject %q, and elsewhere to version %d of subject %q", r.Name, before.Version, before.Subject, r.Version, r.Subject)
			}
			continue
		}
		if seen[r.Name] = r; len(seen) > mostImports {
			return fmt.Errorf("the schema has more than %d references", mostImports)
		}
		s, err := c.version(ctx, version{r.Subject, r.Version})
		if err != nil {
			return fmt.Errorf("reference %q: %w", r.Name, err)
		}
		if s.Type != b.typ {
			return fmt.Errorf("reference %q: version %d of subject %q is of type %v, not %v", r.Name, r.Version, r.Subject, s.Type, b.typ)
		}
		if err := c.follow(ctx, b, s.References, seen); err != nil {
			return err
		}
		b.imports = append(b.imports, imported{name: r.Name, text: s.Schema.Schema})
	}
	return nil
}
