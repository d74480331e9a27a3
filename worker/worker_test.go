package worker

import (
	"slices"
	"testing"
)

func TestInherited(t *testing.T) {
	for _, tc := range []struct {
		name    string
		env     map[string]string
		want    []string
		wantErr string
	}{
		{"none", nil, nil, ""},
		{"not ours", map[string]string{"LISTEN_FDS": "2", "LISTEN_PID": "41"}, nil, ""},
		{"no pid", map[string]string{"LISTEN_FDS": "2"}, nil, ""},
		{"without names", map[string]string{"LISTEN_FDS": "2", "LISTEN_PID": "42"}, []string{"unknown", "unknown"}, ""},
		{"names", map[string]string{"LISTEN_FDS": "3", "LISTEN_PID": "42", "LISTEN_FDNAMES": "web::web"}, []string{"web", "", "web"}, ""},
		{"too few names", map[string]string{"LISTEN_FDS": "2", "LISTEN_PID": "42", "LISTEN_FDNAMES": "web"}, nil, "read LISTEN_FDNAMES: 1 names for 2 descriptors"},
		{"no count", map[string]string{"LISTEN_FDS": "two", "LISTEN_PID": "42"}, nil, `read LISTEN_FDS: "two" is not a count`},
		{"negative", map[string]string{"LISTEN_FDS": "-1", "LISTEN_PID": "42"}, nil, `read LISTEN_FDS: "-1" is not a count`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := inherited(func(k string) string { return tc.env[k] }, 42)
			if !slices.Equal(got, tc.want) {
				t.Errorf("got %q, want %q", got, tc.want)
			}
			if msg := message(err); msg != tc.wantErr {
				t.Errorf("error %q, want %q", msg, tc.wantErr)
			}
		})
	}
}

func message(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
