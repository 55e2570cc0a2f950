"""Explanation: one video in; its motion, answers with likelihoods and what they rest on out, as a page."""
