"""The model: arrays in, distributions over edits out."""

import os

# Before jaxlib loads: reading the compilation cache back on CPU logs an error a function that is not one (jax #38445).
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
