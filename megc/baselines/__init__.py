"""Answers without a language model, to hold a model against: the training answers' priors, and a flow probe.

They learn from the training subjects only.
"""

from megc.baselines.answer import BASELINES, answer_files, leave_one_subject_out
from megc.baselines.features import SOURCES, pool, read_features
from megc.baselines.prior import DRAWS, Prior, prior_only, prior_sampled
from megc.baselines.probe import Probe, flow_probe

__all__ = [
    "BASELINES",
    "DRAWS",
    "SOURCES",
    "Prior",
    "Probe",
    "answer_files",
    "flow_probe",
    "leave_one_subject_out",
    "pool",
    "prior_only",
    "prior_sampled",
    "read_features",
]
