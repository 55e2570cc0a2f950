"""Steps of a grid done in this process, in order, where a test is not about Snakemake: its start takes a second."""

from megc.ablation import workflow
from megc.ablation.job import record_step
from megc.ablation.job_plan import Plan
from megc.ablation.settings import Execution
from megc.ablation.workflow import Outcome


class _NoBar:
    def update(self) -> None:
        """Nothing is drawn."""

    def set_description(self, text: str, refresh: bool) -> None:
        """Nothing is drawn."""


def run_plan_here(plan: Plan, outcome: Outcome, _execution: Execution) -> None:
    """In the place of `workflow._run_plan`."""
    waiting = dict(plan.steps)
    for name, step in plan.steps.items():
        if any(needed in outcome.failed or needed in outcome.skipped for needed in step.needs()):
            outcome.skipped.append(waiting.pop(name))
            continue
        record_step(plan, name)
        workflow._collect(plan, waiting, outcome, _NoBar())
