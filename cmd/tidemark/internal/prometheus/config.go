package prometheus

import (
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redpanda-data/benthos/v4/public/service"
)

const (
	fieldHistogram   = "use_histogram_timing"
	fieldBuckets     = "histogram_buckets"
	fieldObjectives  = "summary_quantiles_objectives"
	fieldQuantile    = "quantile"
	fieldMargin      = "error"
	fieldProcess     = "add_process_metrics"
	fieldGo          = "add_go_metrics"
	fieldPushURL     = "push_url"
	fieldPushEvery   = "push_interval"
	fieldPushJob     = "push_job_name"
	fieldPushAuth    = "push_basic_auth"
	fieldPushUser    = "username"
	fieldPushSecret  = "password"
	fieldFileOnClose = "file_output_path"
)

// Register adds the exporter to env under the name prometheus.
func Register(env *service.Environment) error {
	return env.RegisterMetricsExporter("prometheus", spec(),
		func(conf *service.ParsedConfig, log *service.Logger) (service.MetricsExporter, error) {
			c, err := parse(conf)
			if err != nil {
				return nil, err
			}
			return newExporter(c, log)
		})
}

// objectives maps a quantile to the error allowed in it.
var objectives = []any{
	map[string]any{fieldQuantile: 0.5, fieldMargin: 0.05},
	map[string]any{fieldQuantile: 0.9, fieldMargin: 0.01},
	map[string]any{fieldQuantile: 0.99, fieldMargin: 0.001},
}

func spec() *service.ConfigSpec {
	return service.NewConfigSpec().
		Stable().
		Summary("Serves metrics to Prometheus at `/metrics` and `/stats` of the HTTP server.").
		Fields(
			service.NewBoolField(fieldHistogram).
				Description("Export timings as histograms in seconds; `false` exports summaries in nanoseconds.").
				Advanced().Default(false),
			service.NewFloatListField(fieldBuckets).
				Description("Upper bounds of the histograms' buckets, in seconds. Empty takes Prometheus's default buckets. "+
					"Used where `use_histogram_timing` is `true`.").
				Advanced().Default([]any{}).Example([]any{0.001, 0.01, 0.1, 1}),
			service.NewObjectListField(fieldObjectives,
				service.NewFloatField(fieldQuantile).Description("The quantile, from 0 to 1.").Default(0.0),
				service.NewFloatField(fieldMargin).Description("The error allowed in the quantile, from 0 to 1.").Default(0.0),
			).
				Description("Quantiles of the summaries. Used where `use_histogram_timing` is `false`.").
				Advanced().Default(objectives).Example(objectives),
			service.NewBoolField(fieldProcess).
				Description("Export metrics of the process too, such as CPU time and memory.").Advanced().Default(false),
			service.NewBoolField(fieldGo).
				Description("Export metrics of the Go runtime too.").Advanced().Default(false),
			service.NewURLField(fieldPushURL).
				Description("Push metrics to this Push Gateway when the service stops. Leave `/metrics/jobs/...` out of it.").
				Advanced().Optional().Example("http://localhost:9091"),
			service.NewDurationField(fieldPushEvery).
				Description("Push to `push_url` periodically too. Unset pushes only when the service stops.").
				Advanced().Optional().Example("30s"),
			service.NewStringField(fieldPushJob).
				Description("The name of the job that metrics are pushed under.").Advanced().Default("benthos_push"),
			service.NewObjectField(fieldPushAuth,
				service.NewStringField(fieldPushUser).Description("The user. Empty sends no credentials.").Default(""),
				service.NewStringField(fieldPushSecret).Description("The password. Empty sends no credentials.").Secret().Default(""),
			).Description("Credentials for HTTP basic authentication at `push_url`.").Advanced(),
			service.NewStringField(fieldFileOnClose).
				Description("Write all metrics to this file when the service stops. Empty writes none.").Advanced().Default(""),
		)
}

// config is what a configuration asks for.
type config struct {
	// histogram exports timings in seconds into buckets, else as summaries with
	// objectives in nanoseconds.
	histogram  bool
	buckets    []float64
	objectives map[float64]float64
	// process and goRuntime add collectors.
	process, goRuntime bool
	// pushURL "" = no pushing; pushEvery 0 = at Close only.
	pushURL, pushJob string
	pushEvery        time.Duration
	user, secret     string
	// file is written at Close; "" = none.
	file string
}

func parse(conf *service.ParsedConfig) (c config, err error) {
	if c.histogram, err = conf.FieldBool(fieldHistogram); err != nil {
		return c, err
	}
	if c.buckets, err = conf.FieldFloatList(fieldBuckets); err != nil {
		return c, err
	}
	if len(c.buckets) == 0 {
		c.buckets = prometheus.DefBuckets
	}
	if c.objectives, err = parseObjectives(conf); err != nil {
		return c, err
	}
	if c.process, err = conf.FieldBool(fieldProcess); err != nil {
		return c, err
	}
	if c.goRuntime, err = conf.FieldBool(fieldGo); err != nil {
		return c, err
	}
	if c.file, err = conf.FieldString(fieldFileOnClose); err != nil {
		return c, err
	}
	return c, c.parsePush(conf)
}

func parseObjectives(conf *service.ParsedConfig) (map[float64]float64, error) {
	list, err := conf.FieldObjectList(fieldObjectives)
	if err != nil {
		return nil, err
	}
	parsed := map[float64]float64{}
	for _, o := range list {
		quantile, err := o.FieldFloat(fieldQuantile)
		if err != nil {
			return nil, err
		}
		if quantile < 0 || quantile > 1 {
			return nil, fmt.Errorf("%s.%s: is %v; give a number from 0 to 1", fieldObjectives, fieldQuantile, quantile)
		}
		if parsed[quantile], err = o.FieldFloat(fieldMargin); err != nil {
			return nil, err
		}
	}
	return parsed, nil
}

func (c *config) parsePush(conf *service.ParsedConfig) (err error) {
	if c.pushJob, err = conf.FieldString(fieldPushJob); err != nil {
		return err
	}
	if c.user, err = conf.FieldString(fieldPushAuth, fieldPushUser); err != nil {
		return err
	}
	if c.secret, err = conf.FieldString(fieldPushAuth, fieldPushSecret); err != nil {
		return err
	}
	if conf.Contains(fieldPushURL) {
		if c.pushURL, err = conf.FieldString(fieldPushURL); err != nil {
			return err
		}
	}
	if conf.Contains(fieldPushEvery) {
		if c.pushEvery, err = conf.FieldDuration(fieldPushEvery); err != nil {
			return err
		}
	}
	if c.pushEvery < 0 || c.pushEvery > 0 && c.pushURL == "" {
		return fmt.Errorf("%s: is %v and %s is %q; give a positive interval together with an address", fieldPushEvery, c.pushEvery, fieldPushURL, c.pushURL)
	}
	return nil
}
