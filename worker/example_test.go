package worker_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"syscall"

	"fugue/worker"
)

// Under fugue the listeners are those of its [listen.NAME] tables and nothing is
// to be said about them; this program brings its own, and stops itself as fugue
// would.
func Example() {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	o := worker.Options{
		Listeners: []net.Listener{l},
		Ready: func() error {
			go visit(l.Addr())
			return worker.Ready()
		},
		OnDrain: func(context.Context) { fmt.Println("draining") },
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { fmt.Fprintln(w, "hello") })
	if err := o.Serve(&http.Server{Handler: mux}); err != nil {
		log.Fatal(err)
	}
	fmt.Println("ended, and nobody was cut off")
	// Output:
	// hello
	// draining
	// ended, and nobody was cut off
}

func visit(addr net.Addr) {
	r, err := http.Get("http://" + addr.String())
	if err != nil {
		log.Fatal(err)
	}
	_, _ = io.Copy(os.Stdout, r.Body)
	r.Body.Close()
	http.DefaultClient.CloseIdleConnections()
	_ = syscall.Kill(os.Getpid(), syscall.SIGTERM)
}

// A server that echoes lines, and says goodbye when it has to stop.
func ExampleServeConns() {
	err := worker.ServeConns(func(ctx context.Context, c net.Conn) {
		go func() {
			<-worker.Draining(ctx)
			fmt.Fprintln(c, "please come back to another worker")
		}()
		for lines := bufio.NewScanner(c); lines.Scan(); {
			fmt.Fprintln(c, lines.Text())
		}
	})
	if err != nil {
		log.Fatal(err)
	}
}
