package servers_test

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/textproto"
	"path/filepath"
	"strings"
	"testing"
)

// The records of FastCGI 1.0 that a request without a body is made of.
const (
	fcgiBegin  = 1
	fcgiEnd    = 3
	fcgiParams = 4
	fcgiStdin  = 5
	fcgiStdout = 6
)

// fastCGI is a web server in front of a FastCGI one, a connection for each
// request. Where that one gives no answer, neither does it.
func fastCGI(t *testing.T, address string) string {
	t.Helper()
	script, err := filepath.Abs("testdata/index.php")
	if err != nil {
		t.Fatal(err)
	}
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		header, body, err := askFastCGI(address, map[string]string{
			"SCRIPT_FILENAME": script, "SCRIPT_NAME": "/index.php", "REQUEST_METHOD": "GET",
			"REQUEST_URI": r.URL.RequestURI(), "QUERY_STRING": r.URL.RawQuery, "SERVER_PROTOCOL": "HTTP/1.1",
		})
		if err != nil {
			panic(http.ErrAbortHandler) // the connection is closed without an answer
		}
		for name, values := range header {
			w.Header()[name] = values
		}
		_, _ = w.Write(body)
	}))
	t.Cleanup(front.Close)
	return front.Listener.Addr().String()
}

func askFastCGI(address string, params map[string]string) (textproto.MIMEHeader, []byte, error) {
	c, err := net.DialTimeout("tcp", address, guard)
	if err != nil {
		return nil, nil, err
	}
	defer c.Close()
	var pairs []byte
	for name, value := range params {
		pairs = binary.BigEndian.AppendUint32(pairs, uint32(len(name))|1<<31)
		pairs = binary.BigEndian.AppendUint32(pairs, uint32(len(value))|1<<31)
		pairs = append(append(pairs, name...), value...)
	}
	request := record(fcgiBegin, []byte{0, 1, 0, 0, 0, 0, 0, 0}) // a responder; close at the end
	request = append(request, record(fcgiParams, pairs)...)
	request = append(append(request, record(fcgiParams, nil)...), record(fcgiStdin, nil)...)
	if _, err := c.Write(request); err != nil {
		return nil, nil, err
	}
	var out strings.Builder
	for r := bufio.NewReader(c); ; {
		var head [8]byte
		if _, err := io.ReadFull(r, head[:]); err != nil {
			return nil, nil, fmt.Errorf("no end of the answer: %w", err)
		}
		content := make([]byte, int(binary.BigEndian.Uint16(head[4:]))+int(head[6]))
		if _, err := io.ReadFull(r, content); err != nil {
			return nil, nil, err
		}
		switch head[1] {
		case fcgiStdout:
			out.Write(content[:len(content)-int(head[6])])
		case fcgiEnd:
			return parseCGI(out.String())
		}
	}
}

func record(kind byte, content []byte) []byte {
	head := []byte{1, kind, 0, 1, 0, 0, 0, 0}
	binary.BigEndian.PutUint16(head[4:], uint16(len(content)))
	return append(head, content...)
}

func parseCGI(text string) (textproto.MIMEHeader, []byte, error) {
	r := bufio.NewReader(strings.NewReader(text))
	header, err := textproto.NewReader(r).ReadMIMEHeader()
	if err != nil {
		return nil, nil, err
	}
	if header.Get("Status") != "" {
		return nil, nil, errors.New(header.Get("Status"))
	}
	body, err := io.ReadAll(r)
	return header, body, err
}
