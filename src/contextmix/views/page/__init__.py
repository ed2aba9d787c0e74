"""HTML: fragments for notebooks, pages that need no network, and the explorer that runs in both."""
