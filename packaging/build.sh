#!/bin/sh
# Builds the packages: fugue_VERSION_ARCH.deb, fugue-VERSION.ARCH.rpm and a tarball
# for other systems, below OUT (dist). The same source and version give the same
# bytes, whenever and wherever it runs: times are those of the commit, owners root.
#	VERSION=1.2.3 ARCHES="amd64 arm64" OUT=dist packaging/build.sh
set -eu
cd "$(dirname "$0")/.."
umask 022
export LC_ALL=C TZ=UTC

version=${VERSION:-$(git describe --tags --always --dirty 2>/dev/null || echo devel)}
: "${SOURCE_DATE_EPOCH:=$(git log -1 --format=%ct 2>/dev/null || echo 1700000000)}"
export SOURCE_DATE_EPOCH
out=${OUT:-dist}
mkdir -p "$out"
out=$(cd "$out" && pwd)

# Package managers compare versions: one must begin with a digit; commits after a
# release come after it (+), and a candidate before it (~).
PKG_VERSION=${version#v}
case $PKG_VERSION in
[0-9]*.*) PKG_VERSION=$(echo "$PKG_VERSION" | sed 's/-\([0-9]*\)-g/+\1.g/; s/-dirty$/+dirty/; s/-/~/g') ;;
*) PKG_VERSION="0~git$(date -u -d "@$SOURCE_DATE_EPOCH" +%Y%m%d).$(echo "$version" | tr -c 'a-z0-9\n' .)" ;;
esac
export PKG_VERSION

stage=$out/stage
rm -rf "$stage"
mkdir -p "$stage/doc" "$stage/examples" "$stage/scripts"
go run ./packaging/gen -out "$stage" -version "$version" -date "$SOURCE_DATE_EPOCH"
cp README.md CHANGELOG.md docs/*.md "$stage/doc/"
cp packaging/examples/* "$stage/examples/"
cp packaging/scripts/* "$stage/scripts/"
cp packaging/fugue@.service packaging/sysusers.conf packaging/needrestart.conf \
	packaging/copyright packaging/lintian-overrides packaging/nfpm.yaml packaging/install.sh LICENSE "$stage/"
cat >"$stage/changelog" <<END
fugue ($PKG_VERSION) stable; urgency=medium

  * What is new is in /usr/share/doc/fugue/CHANGELOG.md.

 -- The fugue authors <maintainers@fugue.dev>  $(date -u -R -d "@$SOURCE_DATE_EPOCH")
END
gzip -9n "$stage/changelog" "$stage"/man/*
chmod -R u=rwX,go=rX "$stage"
chmod 755 "$stage"/scripts/* "$stage/install.sh"

nfpm=$(go tool -n -modfile=tools/go.mod nfpm)
for ARCH in ${ARCHES:-amd64 arm64}; do
	export ARCH
	# No stamp of the repository: a tarball of it has none.
	CGO_ENABLED=0 GOOS=linux GOARCH=$ARCH go build -trimpath -buildvcs=false \
		-ldflags "-s -w -buildid= -X main.version=$version" -o "$stage/fugue" .
	find "$stage" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
	for packager in deb rpm; do
		(cd "$stage" && "$nfpm" package --config nfpm.yaml --packager "$packager" --target "$out/" >/dev/null)
	done
	tar -C "$stage" --sort=name --owner=0 --group=0 --numeric-owner --mtime="@$SOURCE_DATE_EPOCH" \
		--transform "s,^\.,fugue-$PKG_VERSION-linux-$ARCH," --exclude=./scripts --exclude=./nfpm.yaml \
		--exclude=./changelog.gz --exclude=./lintian-overrides --exclude=./copyright -cf - . |
		gzip -9n >"$out/fugue-$PKG_VERSION-linux-$ARCH.tar.gz"
done
rm -rf "$stage"
(cd "$out" && sha256sum -- *.deb *.rpm *.tar.gz >SHA256SUMS)
