"""How further processes of this machine are started and spoken to. What they do is said by whoever starts them."""
