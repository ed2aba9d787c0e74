"""What is heard as attention where it does not pass through the registry: products, mixers by unit values, channels."""
