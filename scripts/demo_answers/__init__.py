"""Makes the built-in model that answers questions about a text: its stories, its tokenizer, its training, its card."""
