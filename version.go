package main

import "runtime/debug"

// release is set by release builds.
var release = ""

// version names the build: a release, or the commit it was made from.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if release != "" || !ok {
		return release
	}
	return info.Main.Version
}
