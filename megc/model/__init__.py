"""Qwen2.5-VL: the tiny checkpoint, loading and saving, samples, packing."""
