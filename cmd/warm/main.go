package main
import (
 _ "github.com/redpanda-data/benthos/v4/public/components/pure"
 _ "github.com/redpanda-data/benthos/v4/public/components/io"
 _ "github.com/redpanda-data/benthos/v4/public/service/integration"
 _ "github.com/twmb/franz-go/pkg/kgo"
 _ "github.com/twmb/franz-go/pkg/kadm"
 _ "github.com/twmb/franz-go/pkg/kmsg"
 _ "github.com/twmb/franz-go/pkg/kfake"
 _ "github.com/stretchr/testify/require"
 _ "github.com/stretchr/testify/assert"
 _ "github.com/cockroachdb/pebble/v2"
 _ "github.com/urfave/cli/v2"
)
func main(){}
