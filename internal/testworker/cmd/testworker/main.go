// Command testworker is package testworker as a program of its own.
package main

import (
	"os"

	"fugue/internal/testworker"
)

func main() { os.Exit(testworker.Main(os.Args[1:])) }
