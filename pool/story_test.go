package pool_test

import (
	"testing"

	"fugue/pool/pooltest"
)

func TestStories(t *testing.T) { pooltest.Stories(t, "testdata", nil) }
