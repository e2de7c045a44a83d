package processor

import (
	"fmt"
	"slices"
	"strings"
)

// The names of the metadata that is set.
const (
	metaEventTime = "event_time_ms"
	metaWatermark = "watermark_ms"
	metaLate      = "late"
)

// noMetadata in place of names selects none, as in the input. An empty list cannot:
// Benthos does not tell it from a list that is not set.
const noMetadata = "none"

// metadataSelection says which metadata messages carry.
type metadataSelection struct {
	eventTime, watermark, late bool
	// missing are the names of the others.
	missing []string
}

// selectMetadata turns names into a selection; without names that is all.
func selectMetadata(names []string) (metadataSelection, error) {
	all := []string{metaEventTime, metaWatermark, metaLate}
	switch {
	case len(names) == 0:
		names = all
	case len(names) == 1 && names[0] == noMetadata:
		names = nil
	}
	for _, name := range names {
		if !slices.Contains(all, name) {
			return metadataSelection{}, fmt.Errorf("%s: %q is not metadata of this processor: use any of %s, or %s alone",
				fieldMetadata, name, strings.Join(all, ", "), noMetadata)
		}
	}
	return metadataSelection{
		eventTime: slices.Contains(names, metaEventTime),
		watermark: slices.Contains(names, metaWatermark),
		late:      slices.Contains(names, metaLate),
		missing:   slices.DeleteFunc(all, func(name string) bool { return slices.Contains(names, name) }),
	}, nil
}
