"""The only folder that runs a model: encode, tap, record, discover, verify, replay."""
