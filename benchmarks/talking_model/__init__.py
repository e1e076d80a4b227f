"""A small language model that talks, made on this machine in a few minutes, and variants of it.

Speculative decoding, quantised weights and the quality of answers mean nothing on random weights. This model learns
questions and answers about Python's standard library from the docstrings that every Python ships.
``benchmarks.talking_model.store`` makes the models once and keeps them.
"""
