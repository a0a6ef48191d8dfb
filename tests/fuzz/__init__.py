"""Coverage-guided fuzzing of every decoder that faces the network or a client, with atheris (extra `fuzz`).

    targets    the decoders: what is called, what it may raise, with what it begins
    shapes     msgpack values that are changed in their structure rather than in their bytes
    one        runs one target until its time is over
    lines      which lines of a decoder its corpus has reached
    __main__   runs all, reports executions and lines: python -m tests.fuzz --seconds 60

What a run finds is mended and kept as a case in the tests of that decoder. Without atheris, `tests/unit/test_fuzz.py`
runs every target with its seeds, cut and altered.
"""
