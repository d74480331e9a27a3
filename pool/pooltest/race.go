//go:build race

package pooltest

const race = true
