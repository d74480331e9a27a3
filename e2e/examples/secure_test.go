package examples_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"fugue/e2e"
)

// certificate writes one that is good enough, with its key, for node.
func certificate(t *testing.T, path string) {
	t.Helper()
	made := httptest.NewTLSServer(http.NotFoundHandler())
	pair := made.TLS.Certificates[0]
	made.Close()
	key, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	text := append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: pair.Certificate[0]}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})...)
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

// A client of node's https and http2 servers is answered on its kept connection
// by the worker that drains, is told that this was the last time, and then meets
// the next one.
func TestKeptAliveClientsOfNodeOverTLS(t *testing.T) {
	for _, c := range []struct{ name, server, proto string }{
		{"https", "require('https').createServer({ key, cert: key }, answer)", "HTTP/1.1"},
		{"http2", "require('http2').createSecureServer({ key, cert: key }, answer)", "HTTP/2.0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			e2e.NeedProgram(t, "node")
			p := &pool{t: t, dir: tempDir(t), name: "secure-0"}
			certificate(t, filepath.Join(p.dir, "key.pem"))
			script := filepath.Join(p.dir, "secure.js")
			if err := os.WriteFile(script, []byte(`
const fugue = require('fugue');
const key = require('fs').readFileSync('key.pem');
const answer = (request, response) => response.end('generation ' + process.env.FUGUE_GENERATION);
fugue.onDrain(() => console.log('drains'));
fugue.start(`+c.server+`, 0, '127.0.0.1', 1, { verbose: true, idle_grace: 20000, set: { 'restart.min_uptime': '0' } });
`), 0o600); err != nil {
				t.Fatal(err)
			}
			p.start("/usr/bin/node", script)
			p.await("generation 1 serves")
			client := &http.Client{Timeout: guard, Transport: &http.Transport{
				ForceAttemptHTTP2: c.proto == "HTTP/2.0",
				TLSClientConfig:   &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // its certificate is nobody's
			}}
			get := func() string {
				t.Helper()
				r, err := client.Get("https://" + p.status().Listeners[0].Address)
				if err != nil {
					t.Fatal(err)
				}
				defer r.Body.Close()
				text, err := io.ReadAll(r.Body)
				if err != nil || r.Proto != c.proto {
					t.Fatal(r.Proto, err)
				}
				return string(text)
			}
			if got := get(); got != "generation 1" {
				t.Fatalf("answer %q", got)
			}
			p.reload()
			p.await("drains")
			got := get()
			if c.proto == "HTTP/1.1" && got != "generation 1" {
				t.Errorf("answer %q on the kept connection, want that of the worker that drains", got)
			}
			if got := get(); got != "generation 2" {
				t.Errorf("answer %q after that", got)
			}
			p.await("stopped after")
			client.CloseIdleConnections()
		})
	}
}
