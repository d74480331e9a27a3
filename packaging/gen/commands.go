package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// escape keeps text that is not Markdown from being read as such; back quotes
// stay, which help texts use for code.
var escape = strings.NewReplacer(`\`, `\\`, "*", `\*`, "_", `\_`, "<", `\<`, ">", `\>`, "[", `\[`, "]", `\]`, "|", `\|`, "#", `\#`)

// pageName is what the page of a command is called: fugue-run for `fugue run`.
func pageName(cmd *cobra.Command) string { return strings.ReplaceAll(cmd.CommandPath(), " ", "-") }

// shown are the commands below cmd that have a page.
func shown(cmd *cobra.Command) []*cobra.Command {
	var all []*cobra.Command
	for _, sub := range cmd.Commands() {
		if sub.IsAvailableCommand() && sub.Name() != "help" {
			all = append(all, sub)
		}
	}
	return all
}

// commandPage is the page of one command: what its --help says, and for each flag
// that is a key of the file what docs/CONFIG.md says.
func commandPage(cmd *cobra.Command, keys map[string]row) string {
	var out strings.Builder
	para := func(title, text string) {
		if text = strings.TrimSpace(text); text != "" {
			fmt.Fprintf(&out, "# %s\n\n%s\n\n", title, text)
		}
	}
	para("NAME", pageName(cmd)+` \- `+escape.Replace(cmd.Short))
	para("SYNOPSIS", "**"+escape.Replace(cmd.UseLine())+"**")
	long := cmd.Long
	if long == "" {
		long = cmd.Short + "."
	}
	// What help lists in short is below, with what it means.
	long, _, _ = strings.Cut(long, "\n\nThe other keys, each a flag too")
	para("DESCRIPTION", escape.Replace(long))
	var commands strings.Builder
	for _, sub := range shown(cmd) {
		fmt.Fprintf(&commands, "**%s**(1)\n: %s\n\n", pageName(sub), escape.Replace(sub.Short))
	}
	para("COMMANDS", commands.String())
	para("OPTIONS", options(cmd, keys))
	if cmd.Example != "" {
		para("EXAMPLES", "```\n"+cmd.Example+"\n```")
	}
	return out.String()
}

func options(cmd *cobra.Command, keys map[string]row) string {
	var out strings.Builder
	cmd.InitDefaultHelpFlag()
	cmd.NonInheritedFlags().VisitAll(func(f *pflag.Flag) {
		name := "**--" + f.Name + "**"
		if f.Shorthand != "" {
			name = "**-" + f.Shorthand + "**, " + name
		}
		value, usage := pflag.UnquoteUsage(f)
		if value != "" {
			name += " " + escape.Replace(value)
		}
		text := escape.Replace(usage)
		if r, ok := keys[f.Name]; ok && text == "" {
			text = r.means
			if r.other != "" {
				text += ". Default: " + r.other
			}
		}
		if f.DefValue != "" && f.DefValue != "false" && f.DefValue != "[]" {
			text += " (default " + escape.Replace(f.DefValue) + ")"
		}
		fmt.Fprintf(&out, "%s\n: %s\n\n", name, strings.TrimSpace(unlinked(text)))
	})
	return out.String()
}
