"""Speculative decoding inside a replica: who gains how many tokens, what it holds and costs."""
