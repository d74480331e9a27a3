package sweep

import "testing"

// The caretaker of a unit is known by its words, and nobody else by chance.
func TestIsCaretaker(t *testing.T) {
	for cmdline, want := range map[string]bool{
		"fugue\x00sweep\x00--caretaker\x00web.service\x00":        true,
		"fugue\x00sweep\x00--caretaker\x00web.service\x00web\x00": true,
		"fugue\x00sweep\x00--caretaker\x00web.service2\x00":       false,
		"fugue\x00sweep\x00web.service\x00":                       false,
		"sh\x00fugue\x00sweep\x00--caretaker\x00web.service\x00":  false,
		"/usr/bin/testworker\x00":                                 false,
		"":                                                        true, // it is ending
	} {
		if got := isCaretaker(cmdline, "web.service"); got != want {
			t.Errorf("%q: %v", cmdline, got)
		}
	}
	if IsCaretaker(1, "web.service") {
		t.Error("PID 1 is one")
	}
}
