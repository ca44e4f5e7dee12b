//go:build !purego

package pdq

// EachVectors calls do with every set of vector instructions that this
// processor has, narrowest first. It must not run beside other tests.
func EachVectors(do func(name string)) {
	before := active
	defer func() { active = before }()
	for v := portable; v <= before; v++ {
		active = v
		do(v.String())
	}
}
