package doctor

import (
	"errors"
	"maps"
	"slices"
	"testing"
	"time"

	"fugue/internal/config"
)

// sound is a unit with nothing wrong.
func sound() Properties {
	usec := func(d time.Duration) uint64 { return uint64(d / time.Microsecond) }
	command := func(words ...string) [][]any { return [][]any{{words[0], words}} }
	return Properties{
		"LoadState": "loaded", "ActiveState": "active", "Type": "notify", "NotifyAccess": "main", "KillMode": "process", "OOMPolicy": "continue", "Restart": "always",
		"RestartUSec": usec(100 * time.Millisecond), "StartLimitIntervalUSec": uint64(0), "FileDescriptorStoreMax": uint32(4096),
		"RuntimeDirectory": []string{"fugue/web"}, "RuntimeDirectoryPreserve": "restart", "TimeoutStopUSec": usec(45 * time.Second), "WatchdogUSec": usec(30 * time.Second),
		"ExecMainStartTimestampMonotonic": usec(time.Hour), "ActiveEnterTimestampMonotonic": usec(time.Hour + 2*time.Second),
		"ExecReload": command("/usr/bin/fugue", "reload", "web"), "ExecStopPost": command("/usr/bin/fugue", "sweep", "web"),
	}
}

func soundSocket() Properties {
	return Properties{"LoadState": "loaded", "ActiveState": "active", "TriggerLimitIntervalUSec": uint64(0), "FileDescriptorName": "http"}
}

func TestExamine(t *testing.T) {
	cfg, err := config.Parse([]config.File{{Path: "/etc/fugue/web.toml", Text: []byte("command = ['x']\n[listen.http]\nstream = '80'\nnonblocking = false\n[install]\nsockets = true\n")}}, config.Options{WorkDir: "/"})
	if err != nil {
		t.Fatal(err)
	}
	with := func(key string, value any) func(*Seen) { return func(s *Seen) { s.Service[key] = value } }
	socket := func(key string, value any) func(*Seen) { return func(s *Seen) { s.Sockets[0].Props[key] = value } }
	minute := uint64(time.Minute / time.Microsecond)
	for _, tt := range []struct {
		want string
		ill  func(*Seen)
	}{
		{"", func(*Seen) {}},
		{"", with("TimeoutStopUSec", ^uint64(0))},
		{"", with("WatchdogUSec", uint64(0))},
		{"", func(s *Seen) { s.Exec = "/usr/bin/fugue" }},
		{"", func(s *Seen) { s.Workers = []Worker{{PID: 7}} }},
		{"", func(s *Seen) { s.Flags = []Flag{{"http", false}, {"other", true}} }},
		{"file", func(s *Seen) { s.Config, s.Broken = nil, errors.New("a\nb") }},
		{"unit", func(s *Seen) { s.Service = nil }},
		{"unit", with("LoadState", "not-found")},
		{"unit", with("LoadState", "bad-setting")},
		{"daemon-reload", with("NeedDaemonReload", true)},
		{"type", with("Type", "simple")},
		{"notify-access", with("NotifyAccess", "all")},
		{"kill-mode", with("KillMode", "mixed")},
		{"oom-policy", with("OOMPolicy", "stop")},
		{"restart", with("Restart", "no")},
		{"restart-delay", with("RestartUSec", minute)},
		{"start-limit", with("StartLimitIntervalUSec", minute)},
		{"store-size", with("FileDescriptorStoreMax", uint32(9))},
		{"runtime-directory", with("RuntimeDirectory", []string{"fugue/other"})},
		{"runtime-directory", with("RuntimeDirectoryPreserve", "no")},
		{"exec-reload", with("ExecReload", [][]any{})},
		{"exec-stop-post", with("ExecStopPost", nil)},
		{"stop-timeout", with("TimeoutStopUSec", minute/4)},
		{"watchdog", with("WatchdogUSec", minute/40)},
		{"watchdog", with("ActiveEnterTimestampMonotonic", 61*minute)},
		{"sockets", func(s *Seen) { s.Sockets = nil }},
		{"socket-unit", socket("LoadState", "not-found")},
		{"socket-listening", socket("ActiveState", "failed")},
		{"socket-listening", socket("ActiveState", "inactive")},
		{"trigger-limit", socket("TriggerLimitIntervalUSec", uint64(2e6))},
		{"socket-name", socket("FileDescriptorName", "web")},
		{"accept", socket("Accept", true)},
		{"socket-path", func(s *Seen) { s.Sockets[0].Missing = []string{"/run/x"} }},
		{"wrapper", func(s *Seen) { s.Exec = "/usr/bin/dash" }},
		{"listen-pid", func(s *Seen) { s.Workers = []Worker{{PID: 7, Child: 8}} }},
		{"nonblocking", func(s *Seen) { s.Flags = []Flag{{"http", true}} }},
	} {
		s := Seen{
			Pool: "web", File: "/etc/fugue/web.toml", Config: cfg, Unit: "web.service", Service: maps.Clone(sound()),
			Sockets: []Socket{{Unit: "web-http.socket", Props: soundSocket()}},
		}
		tt.ill(&s)
		var got []string
		for _, f := range Examine(s) {
			got = append(got, f.Check)
			if f.What == "" || f.Why == "" || f.Fix == "" {
				t.Errorf("%s says too little: %+v", tt.want, f)
			}
		}
		if want := slices.DeleteFunc([]string{tt.want}, func(s string) bool { return s == "" }); !slices.Equal(got, want) {
			t.Errorf("found %q, want %q", got, want)
		}
	}
}
