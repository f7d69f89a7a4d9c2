// Package types has what the agent asks EC2 for.
package types

// Filter chooses resources.
type Filter struct {
	Name   *string
	Values []string
}

// TagDescription is one tag of a resource.
type TagDescription struct {
	Key, Value *string
}
