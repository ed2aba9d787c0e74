"""`contextmix serve`: a local page on which one types a text and looks into a model's mixing.

What arrives here comes from outside, so each layer has one duty: `protocol` drops slow clients and `guard` refuses what
is not from this machine's own page, both before `app` reads a request; `pool` computes in processes that can be
stopped; `jobs` keeps what came out for a while. FastAPI and uvicorn are loaded here and nowhere else.
"""
