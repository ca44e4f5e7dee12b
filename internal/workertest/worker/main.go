// Command worker is a decoder process and nothing else.
package main

import (
	"fmt"
	"os"

	"mediagate/media"
)

func main() {
	if err := media.DecodeWorker(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
