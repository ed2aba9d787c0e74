"""What was read, and how it is labelled: pieces and words of a text, places in images and sounds.

No numbers (`results`), and no tokenizer or processor (`tracing.inputs`).
"""
