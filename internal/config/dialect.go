package config

// Dialect is a way to tell a worker which descriptors are its sockets. Several
// can be spoken at once.
type Dialect string

// The values of dialect.
const (
	DialectSystemd       Dialect = "systemd"        // LISTEN_FDS, sd_listen_fds(3)
	DialectEinhorn       Dialect = "einhorn"        // EINHORN_FD_COUNT, EINHORN_FD_0, EINHORN_FDS
	DialectServerStarter Dialect = "server-starter" // SERVER_STARTER_PORT=ADDRESS=FD;…
	DialectNginx         Dialect = "nginx"          // NGINX=FD;…
	DialectPHPFPM        Dialect = "php-fpm"        // FPM_SOCKETS=ADDRESS=FD,…
	DialectUnicorn       Dialect = "unicorn"        // UNICORN_FD=FD,…
	DialectPuma          Dialect = "puma"           // PUMA_INHERIT_0=FD:tcp://ADDRESS
)

func dialects() []Dialect {
	return []Dialect{
		DialectSystemd, DialectEinhorn, DialectServerStarter, DialectNginx,
		DialectPHPFPM, DialectUnicorn, DialectPuma,
	}
}

// dialect reads a list of dialects. The empty one is a choice too: some servers
// do the wrong thing with LISTEN_FDS.
func (d *decoder) dialect(dst *[]Dialect) schema {
	var words []string
	for _, k := range dialects() {
		words = append(words, string(k))
	}
	said := map[string]bool{}
	read := d.strings(`an array of dialects such as ["systemd", "einhorn"]`, func(name, s string, e *node) {
		var one string
		d.oneOf(&one, words...).set(name, e)
		switch {
		case one == "":
		case said[s]:
			d.errorf(e.pos, "%s: %q is said already", name, s)
		default:
			said[s] = true
			*dst = append(*dst, Dialect(s))
		}
	})
	return schema{kind: List, set: func(name string, n *node) {
		*dst = []Dialect{}
		read.set(name, n)
	}}.as(form{"type": "array", "items": formWords(words...), "uniqueItems": true})
}
