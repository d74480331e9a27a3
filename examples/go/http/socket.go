package main

import (
	"crypto/sha1" //nolint:gosec // RFC 6455 has it so
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"fugue/worker"
)

// goingAway is a websocket's close frame with status 1001: the client connects
// again, and meets another worker.
const goingAway = "\x88\x02\x03\xe9"

// socket holds a websocket that says hello, and goodbye when this worker is to
// stop. A library for websockets would be told by the same channel.
func socket(w http.ResponseWriter, r *http.Request) {
	key := r.Header.Get("Sec-WebSocket-Key")
	if !strings.EqualFold(r.Header.Get("Upgrade"), "websocket") || key == "" {
		http.Error(w, "want a websocket", http.StatusUpgradeRequired)
		return
	}
	c, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	defer c.Close()
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11")) //nolint:gosec // as above
	fmt.Fprintf(c, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Accept: %s\r\n\r\n\x81\x05hello", base64.StdEncoding.EncodeToString(sum[:]))

	left := make(chan struct{})
	go func() {
		defer close(left)
		_, _ = io.Copy(io.Discard, buffered) // whatever it says; its end is what counts
	}()
	select {
	case <-left:
	case <-worker.Draining(r.Context()):
		_, _ = io.WriteString(c, goingAway)
		select { // it answers with a close frame of its own and ends the connection
		case <-left:
		case <-time.After(5 * time.Second):
		}
	}
}
