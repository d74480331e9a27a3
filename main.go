// Command fugue keeps a pool of worker processes behind one set of listening
// sockets and rolls it from one version to the next without losing a
// connection.
package main

func main() {}
