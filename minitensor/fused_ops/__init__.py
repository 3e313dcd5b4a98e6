"""Fused ops: each a definition in Tensor code and a kernel on raw arrays that makes few passes over memory."""
