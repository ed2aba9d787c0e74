"""One file per kind of file that a map can be drawn into, and one constant SAVED; a new one is found by itself."""
