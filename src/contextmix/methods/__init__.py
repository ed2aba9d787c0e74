"""One file per method: a formula wired to a trace, and one constant METHOD."""
