// Package zzglob stands in for the glob library that buildkite-agent imports, for module proxies that
// do not serve it. It offers what the agent calls and leaves the matching to doublestar.
package zzglob

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/bmatcuk/doublestar/v4"
)

// Pattern is a valid glob: * and ? within one path segment, ** across segments, [classes] and {a,b}.
type Pattern struct {
	glob string
}

type parsing struct {
	home bool
}

// ParseOption changes how Parse reads a pattern.
type ParseOption func(*parsing)

// ExpandTilde says whether a leading ~/ means the home folder. It does unless switched off.
func ExpandTilde(expand bool) ParseOption {
	return func(p *parsing) { p.home = expand }
}

// Parse checks a pattern.
func Parse(pattern string, options ...ParseOption) (*Pattern, error) {
	how := parsing{home: true}
	for _, option := range options {
		option(&how)
	}
	glob := filepath.ToSlash(pattern)
	if rest, ok := strings.CutPrefix(glob, "~/"); ok && how.home {
		home, err := os.UserHomeDir()
		if err != nil {
			return nil, err
		}
		glob = filepath.ToSlash(home) + "/" + rest
	}
	if !doublestar.ValidatePattern(glob) {
		return nil, fmt.Errorf("%q is not a glob pattern", pattern)
	}
	return &Pattern{glob: path.Clean(glob)}, nil
}

// Match says whether the whole of name matches.
func (p *Pattern) Match(name string) bool {
	matched, err := doublestar.Match(p.glob, filepath.ToSlash(name))
	return err == nil && matched
}

type walking struct {
	root  bool
	links bool
}

// GlobOption changes how files are looked for.
type GlobOption func(*walking)

// TraverseSymlinks says whether to look into folders behind symbolic links. It is so unless switched off.
func TraverseSymlinks(traverse bool) GlobOption {
	return func(w *walking) { w.links = traverse }
}

// WalkIntermediateDirs asks to report the folder that the search starts in, if it cannot be read.
func WalkIntermediateDirs(walk bool) GlobOption {
	return func(w *walking) { w.root = walk }
}

// Glob calls visit for every file and folder that matches.
func (p *Pattern) Glob(visit fs.WalkDirFunc, options ...GlobOption) error {
	how := walking{links: true}
	for _, option := range options {
		option(&how)
	}
	base, rest := doublestar.SplitPattern(p.glob)
	if how.root {
		if _, err := os.ReadDir(base); err != nil {
			return visit(base, nil, err)
		}
	}
	var limits []doublestar.GlobOption
	if !how.links {
		limits = append(limits, doublestar.WithNoFollow())
	}
	return doublestar.GlobWalk(os.DirFS(base), rest, func(name string, entry fs.DirEntry) error {
		return visit(filepath.Join(base, name), entry, nil)
	}, limits...)
}

// MultiGlob looks for the files of all patterns, one pattern after another.
func MultiGlob(ctx context.Context, patterns []*Pattern, visit fs.WalkDirFunc, options ...GlobOption) error {
	for _, pattern := range patterns {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := pattern.Glob(visit, options...); err != nil {
			return err
		}
	}
	return nil
}
