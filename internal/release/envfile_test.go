package release

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"fugue/internal/config"
)

func TestParseEnv(t *testing.T) {
	for _, tt := range []struct{ name, text, want string }{
		{"empty", "", ""},
		{"plain", "A=1\nB=two words\nC=", "A=1|B=two words|C="},
		{"comments", "# x\n ; y\nA=1 # not a comment\n#B=2", "A=1 # not a comment"},
		{"comment does not go on", "# x \\\nA=1", "A=1"},
		{"blanks", "  A = 1  \n\tB=\t2\t\n\n", "A=1|B=2"},
		{"MS-DOS", "A=1\r\nB=\"x\"\r\n", "A=1|B=x"},
		{"single quotes", `A='a "b" \n $c # d'`, `A=a "b" \n $c # d`},
		{"double quotes", `A="a 'b' \" \\ \$ \` + "`" + ` \n"`, `A=a 'b' " \ $ ` + "`" + ` \n`},
		{"lines in quotes", "A='1\n2'\nB=\"1\\\n2\n3\"", "A=1\n2|B=12\n3"},
		{"pieces", `A="a" 'b'  c d `, "A=abc d"},
		{"blanks in quotes stay", `A=" a "`, "A= a "},
		{"quote in the middle", `A=it's "fine"`, `A=it's "fine"`},
		{"continued", "A=1 \\\n  2\nB=3\\", "A=1   2|B=3"},
		{"escapes", `A=\a\ \\b\  `, `A=a \b `},
		{"value with =", "A=b=c", "A=b=c"},
		{"twice", "A=1\nA=2", "A=1|A=2"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			entries, errs := parseEnv("/e", []byte(tt.text))
			if len(errs) > 0 {
				t.Fatal(errs)
			}
			var got []string
			for _, e := range entries {
				got = append(got, e.name+"="+e.value)
			}
			if diff := cmp.Diff(tt.want, strings.Join(got, "|")); diff != "" {
				t.Error(diff)
			}
		})
	}
	for text, want := range map[string]string{
		"\n A B\nC=1":     `/e:2:2: error: "A B" is not of the form NAME=VALUE`,
		"A='x\ny\n":       `/e:1:1: error: the quote in the value of "A" is not closed`,
		"1A=x":            `/e:1:1: error: "1A" cannot name an environment variable: letters, digits and _ only, and no digit first`,
		"export A=x":      `/e:1:1: error: "export A": leave export out, this is no shell script`,
		"=x":              `/e:1:1: error: "" cannot name an environment variable: letters, digits and _ only, and no digit first`,
		"NOTIFY_SOCKET=x": `/e:1:1: error: NOTIFY_SOCKET is for fugue to set`,
		"A=\xff":          `/e:1:1: error: the value of A is no text: it contains a NUL byte or is not UTF-8`,
		"A=\x00":          `/e:1:1: error: the value of A is no text: it contains a NUL byte or is not UTF-8`,
		"x\nA=1\ny":       "/e:1:1: error: \"x\" is not of the form NAME=VALUE\n/e:3:1: error: \"y\" is not of the form NAME=VALUE",
	} {
		if _, errs := parseEnv("/e", []byte(text)); errs.Error() != want {
			t.Errorf("%q: %s", text, errs.Error())
		}
	}
}

// TestEnvFileIsShell: where a file means the same to sh, this reads the same.
func TestEnvFileIsShell(t *testing.T) {
	text := "A='x y'\nB=\"q\\\"r\\$s\"\nC=plain\nD=\"two\nlines\"\nE='a'\"b\"\n"
	path := filepath.Join(t.TempDir(), "env")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	entries, errs := parseEnv(path, []byte(text))
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	for _, e := range entries {
		out, err := exec.Command("sh", "-c", `. "$1"; eval "printf %s \"\$$2\""`, "sh", path, e.name).CombinedOutput()
		if err != nil || string(out) != e.value {
			t.Errorf("%s: %q, sh says %q %v", e.name, e.value, out, err)
		}
	}
}

var positioned = regexp.MustCompile(`^/e:[1-9][0-9]*:[1-9][0-9]*: error: [^\n]+$`)

func FuzzParseEnv(f *testing.F) {
	for _, s := range []string{"A=1\n", "# c\n;d\nA=\"b\\\nc\" 'd' e\\", "A B\n=\n'", "A='\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		entries, errs := parseEnv("/e", text)
		for _, e := range errs {
			if !positioned.MatchString(e.Error()) {
				t.Fatalf("%q: %q", text, e.Error())
			}
		}
		for _, e := range entries {
			if !config.ValidVariable(e.name) || strings.ContainsRune(e.value, 0) {
				t.Fatalf("%q: %q", text, e)
			}
		}
	})
}
