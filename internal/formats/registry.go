package formats

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/redpanda-data/benthos/v4/public/service"

	"github.com/tidemarkhq/tidemark/internal/format/registry"
	"github.com/tidemarkhq/tidemark/internal/kafka"
)

// The names of the fields under FieldRegistry.
const (
	fieldURL          = "url"
	fieldContext      = "context"
	fieldBasicAuth    = "basic_auth"
	fieldUsername     = "username"
	fieldPassword     = "password"
	fieldBearerToken  = "bearer_token"
	fieldInherit      = "inherit_sasl"
	fieldTLS          = "tls"
	fieldTimeout      = "timeout"
	fieldRetries      = "retries"
	fieldRefresh      = "refresh_period"
	fieldOfKeys       = "key"
	fieldSubject      = "subject"
	fieldSubjectName  = "subject_name"
	fieldSchema       = "schema"
	fieldSchemaID     = "schema_id"
	fieldVersion      = "schema_version"
	fieldRegister     = "register"
	fieldReferences   = "references"
	fieldName         = "name"
	fieldOfVersion    = "version"
	fieldReader       = "reader_schema"
	fieldReaderOf     = "reader_schema_version"
	fieldTaggedUnions = "avro_tagged_unions"
	fieldMessage      = "protobuf_message"
	fieldProtoNames   = "protobuf_proto_names"
	fieldUnpopulated  = "protobuf_emit_unpopulated"
)

const latest = "latest"

func registryField() *service.ConfigField {
	return service.NewObjectField(FieldRegistry, append([]*service.ConfigField{
		service.NewStringListField(fieldURL).
			Description("Where the registry is; with several URLs, the one that answered last is asked first.").
			Default([]any{}).Example([]string{"http://localhost:8081"}),
		service.NewStringField(fieldContext).
			Description("The context of the schemas, for registries that have several. Empty = the default one.").
			Default("").Example("staging").Advanced(),
		service.NewObjectField(fieldBasicAuth,
			service.NewStringField(fieldUsername).Description("The user.").Default("").Example("pipeline"),
			service.NewStringField(fieldPassword).Description("The password.").Default("").Example("${REGISTRY_PASSWORD}").Secret(),
		).Description("Basic authentication; none if both are empty."),
		service.NewStringField(fieldBearerToken).
			Description("A token that is sent with each request.").
			Default("").Example("${REGISTRY_TOKEN}").Secret(),
		service.NewBoolField(fieldInherit).
			Description("Whether the registry is given the credentials of `sasl`: the first ones there that it can take, which are the user and password of PLAIN and SCRAM as basic authentication, or the token of OAUTHBEARER.").
			Default(false).Example(true),
		service.NewTLSToggledField(fieldTLS),
		service.NewDurationField(fieldTimeout).
			Description("How long one request may take.").Default("5s").Example("1s").Advanced(),
		service.NewIntField(fieldRetries).
			Description("How often a request is repeated that had no useful answer. With several URLs each is asked at least once.").
			Default(3).Example(0).Advanced(),
		service.NewDurationField(fieldRefresh).
			Description("How long the latest version of a subject counts as the latest.").
			Default("10m").Example("1m").Advanced(),
		service.NewObjectField(fieldOfKeys, schemaFields()...).
			Description("The schema of keys, if `key_format` needs one.").Advanced(),
	}, schemaFields()...)...).
		Description("The schema registry for the formats `avro`, `protobuf` and `json_schema`: one with Confluent's API.")
}

// schemaFields are those of one part of the records.
func schemaFields() []*service.ConfigField {
	return []*service.ConfigField{
		service.NewStringField(fieldSubject).
			Description("The subject of the schema. Empty = by `subject_name`.").
			Default("").Example("orders-value"),
		service.NewStringAnnotatedEnumField(fieldSubjectName, map[string]string{
			registry.TopicName:       "The topic, and `-value` or `-key` behind it.",
			registry.RecordName:      "The full name of the schema: of the Avro type, the Protobuf message, or the title of the JSON schema.",
			registry.TopicRecordName: "The topic, a dash, and the name of the schema.",
		}).Description("What the subject is called, unless `subject` says it.").
			Default(registry.TopicName).Example(registry.RecordName).Advanced(),
		service.NewStringField(fieldSchema).
			Description("The text of the schema to write with, registered once under the subject. An output needs this, `schema_id` or `schema_version`.").
			Default("").Example(`{"type": "string"}`),
		service.NewIntField(fieldSchemaID).
			Description("The id of the schema to write with. 0 = none.").Default(0).Example(42),
		service.NewStringField(fieldVersion).
			Description("The version of the subject to write with, a number or `latest`. Empty = none.").
			Default("").Example(latest),
		service.NewBoolField(fieldRegister).
			Description("Whether `schema` is registered if the registry does not have it; else that is an error.").
			Default(true).Example(false),
		service.NewObjectListField(fieldReferences,
			service.NewStringField(fieldName).
				Description("What the schema calls it: the full name of an Avro type, the path of a Protobuf import, or the URL in a `$ref`.").
				Example("acme.Customer"),
			service.NewStringField(fieldSubject).Description("The subject that has it.").Example("customers-value"),
			service.NewIntField(fieldOfVersion).Description("The version of the subject.").Example(3),
		).Description("What `schema` and `reader_schema` refer to.").Default([]any{}).
			Example([]any{map[string]any{"name": "acme.Customer", "subject": "customers-value", "version": 3}}).Advanced(),
		service.NewStringField(fieldReader).
			Description("The text of the schema that records are brought to when they are read, whatever they were written with. Empty = none.").
			Default("").Example(`{"type": "string"}`),
		service.NewStringField(fieldReaderOf).
			Description("The version of the subject, a number or `latest`, in place of `reader_schema`. Empty = none.").
			Default("").Example(latest),
		service.NewBoolField(fieldTaggedUnions).
			Description("Whether values of Avro unions are read as `{\"type\": value}` rather than as the plain value.").
			Default(false).Example(true).Advanced(),
		service.NewStringField(fieldMessage).
			Description("The full name of the Protobuf message to write, or to bring records to. Empty = the first of the schema, or the one that was written.").
			Default("").Example("acme.Order").Advanced(),
		service.NewBoolField(fieldProtoNames).
			Description("Whether Protobuf fields are read under their names in the .proto text rather than those of the JSON mapping. Both are understood when writing.").
			Default(false).Example(true).Advanced(),
		service.NewBoolField(fieldUnpopulated).
			Description("Whether Protobuf fields that are not set are read as their default, or as null where the schema tells that apart.").
			Default(false).Example(true).Advanced(),
	}
}

// registrySettings are the fields under FieldRegistry.
type registrySettings struct {
	registry.Config
	value, key registry.Options
}

func parseRegistry(conf *service.ParsedConfig, creds []kafka.Credentials) (s registrySettings, err error) {
	r := conf.Namespace(FieldRegistry)
	var errs []error
	s.URLs, err = r.FieldStringList(fieldURL)
	errs = append(errs, err)
	s.Context = text(r, &errs, fieldContext)
	s.Username = text(r, &errs, fieldBasicAuth, fieldUsername)
	s.Password = text(r, &errs, fieldBasicAuth, fieldPassword)
	s.BearerToken = text(r, &errs, fieldBearerToken)
	if yes(r, &errs, fieldInherit) {
		errs = append(errs, s.inherit(creds))
	}
	tls, enabled, err := r.FieldTLSToggled(fieldTLS)
	errs = append(errs, err)
	if enabled {
		s.TLS = tls
	}
	s.Timeout, err = r.FieldDuration(fieldTimeout)
	errs = append(errs, err)
	s.Retries, err = r.FieldInt(fieldRetries)
	errs = append(errs, err)
	if s.Retries == 0 {
		s.Retries = -1 // 0 is the default there
	}
	s.Refresh, err = r.FieldDuration(fieldRefresh)
	errs = append(errs, err)
	s.value, err = schemaOptions(r)
	errs = append(errs, err)
	s.key, err = schemaOptions(r.Namespace(fieldOfKeys))
	if err != nil {
		errs = append(errs, fmt.Errorf("%s: %w", fieldOfKeys, err))
	}
	if err := errors.Join(errs...); err != nil {
		return s, fmt.Errorf("%s: %w", FieldRegistry, err)
	}
	return s, nil
}

// inherit takes the credentials of the brokers.
func (s *registrySettings) inherit(creds []kafka.Credentials) error {
	if s.Username != "" || s.Password != "" || s.BearerToken != "" {
		return fmt.Errorf("%s is true, and %s or %s is set: use one of them", fieldInherit, fieldBasicAuth, fieldBearerToken)
	}
	for _, c := range creds {
		authorize, err := c.HTTP()
		if err != nil || authorize != nil {
			s.Authorize = authorize
			return err
		}
	}
	return fmt.Errorf("%s is true, but sasl has no credentials that a registry can take: those of %s, %s, %s or %s; add them, or set %s or %s instead",
		fieldInherit, kafka.SASLPlain, kafka.SASLScram256, kafka.SASLScram512, kafka.SASLOAuthBearer, fieldBasicAuth, fieldBearerToken)
}

func schemaOptions(conf *service.ParsedConfig) (o registry.Options, err error) {
	var errs []error
	o.Subject = text(conf, &errs, fieldSubject)
	o.SubjectName = text(conf, &errs, fieldSubjectName)
	o.Schema = text(conf, &errs, fieldSchema)
	o.SchemaID, err = conf.FieldInt(fieldSchemaID)
	errs = append(errs, err)
	o.SchemaVersion, err = versionOf(fieldVersion, text(conf, &errs, fieldVersion))
	errs = append(errs, err)
	o.LookUpOnly = !yes(conf, &errs, fieldRegister)
	o.ReaderSchema = text(conf, &errs, fieldReader)
	o.ReaderVersion, err = versionOf(fieldReaderOf, text(conf, &errs, fieldReaderOf))
	errs = append(errs, err)
	o.TaggedUnions = yes(conf, &errs, fieldTaggedUnions)
	o.Message = text(conf, &errs, fieldMessage)
	o.ProtoNames = yes(conf, &errs, fieldProtoNames)
	o.EmitUnpopulated = yes(conf, &errs, fieldUnpopulated)
	refs, err := conf.FieldObjectList(fieldReferences)
	errs = append(errs, err)
	for _, ref := range refs {
		is := registry.Reference{Name: text(ref, &errs, fieldName), Subject: text(ref, &errs, fieldSubject)}
		is.Version, err = ref.FieldInt(fieldOfVersion)
		errs = append(errs, err)
		o.References = append(o.References, is)
	}
	o.ReaderReferences = o.References
	return o, errors.Join(errs...)
}

// versionOf reads the version of a subject.
func versionOf(field, v string) (int, error) {
	switch v {
	case "":
		return 0, nil
	case latest:
		return registry.Latest, nil
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < 1 {
		return 0, fmt.Errorf("%s is %q: use a number from 1 on, or %s", field, v, latest)
	}
	return n, nil
}

func text(conf *service.ParsedConfig, errs *[]error, path ...string) string {
	v, err := conf.FieldString(path...)
	*errs = append(*errs, err)
	return v
}

func yes(conf *service.ParsedConfig, errs *[]error, field string) bool {
	v, err := conf.FieldBool(field)
	*errs = append(*errs, err)
	return v
}
