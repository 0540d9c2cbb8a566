"""Verge's conversion tool chain: reads a trained network, writes it in the formats of the engines, and computes the reference's outputs.

Run as `python -m verge_toolchain`; docs/conversion-protocol.md describes what it says and hears. It judges nothing: every artifact is verified
by the engine that will serve it, outside this process.
"""

__version__ = "1"
