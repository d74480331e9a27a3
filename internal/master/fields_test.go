package master

import (
	"regexp"
	"strconv"

	"github.com/sirupsen/logrus"
)

// Who a message of the log is about, by its text.
var (
	aboutWorker     = regexp.MustCompile(`^(?:stopping |killing |kill |collect |send \w+ to )?worker (\d+)(?: \(pid \d+\))?(?: of generation (\d+))?`)
	aboutGeneration = regexp.MustCompile(`^(?:generation (\d+)|(?:start|reload) \d+: rolling from generation \d+ to (\d+))`)
)

// hasFields looks that what is said of one worker, or of one generation, in any
// scene, has the fields by which a machine finds it.
func (h *harness) hasFields(e *logrus.Entry) {
	is := func(field, want string) {
		n, _ := e.Data[field].(int)
		if want != "" && strconv.Itoa(n) != want {
			h.Errorf("the log says %q with the %s %v", e.Message, field, e.Data[field])
		}
	}
	if who := aboutWorker.FindStringSubmatch(e.Message); who != nil {
		is("worker", who[1])
		is("generation", who[2])
		if e.Data["generation"] == nil {
			h.Errorf("the log says %q without a generation", e.Message)
		}
	}
	if who := aboutGeneration.FindStringSubmatch(e.Message); who != nil {
		is("generation", who[1]+who[2])
	}
}
