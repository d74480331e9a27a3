// Package packages tests the packages as people install them: the real .deb with
// dpkg under a real systemd, the .rpm by rpm's own eyes, both twice for their
// bytes. The packages are built once a test process, by packaging/build.sh.
package packages
