"""One file per kind of input that is no text, and one constant KIND; a new file is found by itself."""
