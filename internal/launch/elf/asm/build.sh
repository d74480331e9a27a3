#!/bin/sh
# Assembles the programs into the directory that it is given: `make elf` puts
# them here, and the test elsewhere, to compare.
set -eu
out=$(cd "$1" && pwd)
cd "$(dirname "$0")"

build() {
	"$2-as" -o "$out/$1.o" "$1.S"
	"$2-ld" -Ttext=0x400000 -e _start -o "$out/$1.linked" "$out/$1.o"
	"$2-objcopy" -O binary -j .text "$out/$1.linked" "$out/$1.elf"
	chmod 644 "$out/$1.elf"
	rm "$out/$1.o" "$out/$1.linked"
}

build amd64 x86_64-linux-gnu
build arm64 aarch64-linux-gnu
