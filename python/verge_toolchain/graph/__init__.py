"""Rewriting of TensorFlow graphs: freezing, fixing the batch, unrolling loops."""
