#!/bin/sh
# Installs fugue from this directory below PREFIX (/usr/local), or takes it away:
#	./install.sh [--uninstall]
# As the packages do, it starts and enables nothing. Over an older fugue it hands
# every pool that runs over to the new one. It takes away only what it installed;
# /etc/fugue stays.
set -eu
cd "$(dirname "$0")"
prefix=${PREFIX:-/usr/local}
root=${DESTDIR:-}$prefix
systemd() { [ -z "${DESTDIR:-}" ] && [ -d /run/systemd/system ]; }

files() {
	echo bin/fugue
	echo lib/systemd/system/fugue@.service
	echo lib/systemd/system-generators/fugue-generator
	echo share/bash-completion/completions/fugue
	echo share/zsh/site-functions/_fugue
	echo share/fish/vendor_completions.d/fugue.fish
	echo share/fugue/fugue.schema.json
	for page in man/*; do
		volume=${page%.gz}
		echo "share/man/man${volume##*.}/${page##*/}"
	done
}

if [ "${1:-}" = --uninstall ]; then
	if [ -z "${DESTDIR:-}" ] && "$root/bin/fugue" list -o json 2>/dev/null | grep -q '"pid": [1-9]'; then
		echo "install.sh: pools are running: stop them first (fugue list)" >&2
		exit 1
	fi
	files | while read -r file; do rm -f "$root/$file"; done
	if systemd; then systemctl daemon-reload; fi
	exit 0
fi

was=
[ -x "$root/bin/fugue" ] && was=yes
put() {
	install -D -m "$3" "$1" "$root/$2.new"
	# By a rename: a program that runs keeps its file.
	mv -f "$root/$2.new" "$root/$2"
}
put fugue bin/fugue 755
sed "s,/usr/bin/fugue,$prefix/bin/fugue," fugue@.service >fugue@.service.new
put fugue@.service.new lib/systemd/system/fugue@.service 644
rm -f fugue@.service.new
mkdir -p "$root/lib/systemd/system-generators"
ln -sfn "$prefix/bin/fugue" "$root/lib/systemd/system-generators/fugue-generator"
put completions/fugue.bash share/bash-completion/completions/fugue 644
put completions/_fugue share/zsh/site-functions/_fugue 644
put completions/fugue.fish share/fish/vendor_completions.d/fugue.fish 644
put fugue.schema.json share/fugue/fugue.schema.json 644
for page in man/*; do
	volume=${page%.gz}
	put "$page" "share/man/man${volume##*.}/${page##*/}" 644
done
if [ -z "${DESTDIR:-}" ]; then mkdir -p /etc/fugue; fi
if systemd; then
	systemctl daemon-reload
	if [ -n "$was" ]; then "$root/bin/fugue" upgrade --all --timeout 15min; fi
fi
