// Command http is a web server for fugue, with websockets, that loses no request
// in a reload: package worker takes the sockets, says READY=1, and drains.
package main

import (
	"fmt"
	"log"
	"net/http"
	"os"
	"strconv"
	"time"

	"fugue/worker"
)

func main() {
	version := os.Getenv("FUGUE_GENERATION")
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Version", version)
		w.Header().Set("X-Pid", strconv.Itoa(os.Getpid()))
		fmt.Fprintf(w, "hello from worker %s, generation %s\n", os.Getenv("FUGUE_WORKER"), version)
	})
	mux.HandleFunc("/socket", socket)
	srv := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	// Every client that asks again within 20 s is answered once more before its
	// connection ends.
	if err := (worker.Options{IdleGrace: 20 * time.Second}).Serve(srv); err != nil {
		log.Fatal(err)
	}
}
