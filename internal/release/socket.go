package release

import (
	"fmt"
	"net"
	"strconv"
	"strings"

	"fugue/internal/config"
)

// socketValue is what a placeholder about a listener stands for. Sockets that
// only systemd names take part, so this cannot be known from the file alone.
func socketValue(sockets []Socket, p config.Placeholder) (string, error) {
	i, err := pick(sockets, p)
	if err != nil {
		return "", err
	}
	s := sockets[i]
	switch p.Kind {
	case "fd":
		return strconv.Itoa(firstFD + i), nil
	case "addr":
		return s.Address, nil
	}
	host, port, err := net.SplitHostPort(s.Address)
	if err != nil || strings.HasPrefix(s.Network, "unix") {
		return "", fmt.Errorf("%s: %q has no %s; say {addr:%s}", p, s.Address, p.Kind, s.Name)
	}
	if p.Kind == "host" {
		return host, nil
	}
	return port, nil
}

func pick(sockets []Socket, p config.Placeholder) (int, error) {
	found := -1
	for i, s := range sockets {
		if p.Name != "" && s.Name != p.Name {
			continue
		}
		if found >= 0 {
			if p.Name == "" {
				return 0, fmt.Errorf("%s: there are %d listeners (%s); say {%s:%s}", p, len(sockets), names(sockets), p.Kind, s.Name)
			}
			return 0, fmt.Errorf("%s: several sockets have that name; FileDescriptorName= in their .socket units tells them apart", p)
		}
		found = i
	}
	switch {
	case found >= 0:
		return found, nil
	case len(sockets) == 0:
		return 0, fmt.Errorf("%s: there is no listener; say one in [listen.NAME], with -l, or in a .socket unit", p)
	default:
		return 0, fmt.Errorf("%s: there is no such listener, only %s", p, names(sockets))
	}
}

func names(sockets []Socket) string {
	var all []string
	for _, s := range sockets {
		all = append(all, s.Name)
	}
	return strings.Join(all, ", ")
}
