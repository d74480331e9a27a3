package cli

import (
	"fmt"
	"net/http"
	"os"
	"strings"

	"fugue/worker"
)

// demoWorker is one worker of the demo. The release that it is of is a word in
// a file, which it reads once, as other programs read their code.
func demoWorker(release string, getenv func(string) string) error {
	b, err := os.ReadFile(release)
	if err != nil {
		return fmt.Errorf("read the demo's release: %w", err)
	}
	version := strings.TrimSpace(string(b))
	if version == "broken" {
		return fmt.Errorf("release %q cannot start: that is what it is for", version)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, "release %s, generation %s, worker %s, pid %d\n",
			version, getenv("FUGUE_GENERATION"), getenv("FUGUE_WORKER"), os.Getpid())
	})
	mux.HandleFunc("GET /pid", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, os.Getpid())
	})
	return worker.Serve(&http.Server{Handler: mux})
}
