"""Fuzzing: targets, their corpus, and what starts the fuzzer."""
