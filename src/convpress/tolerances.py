"""How far an exported network may be from its original, unless told; without torch, for the page says it as well."""

TOLERANCE = 1e-4
"""Largest difference of a logit between PyTorch and ONNX Runtime, both in float32."""
ACCURACY_TOLERANCE = 0.001
"""Largest difference of accuracies (fractions) between the two."""
