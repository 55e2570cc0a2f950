"""Faces, key frames, optical flow and its picture."""
