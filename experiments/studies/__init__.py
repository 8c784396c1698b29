"""The studies, one file each; a new one is entered in `STUDIES`."""

from experiments.studies import (
    ablations,
    audit,
    carrying,
    default_run,
    detail,
    ends,
    faithfulness,
    faults,
    fidelity,
    findings,
    half_blind,
    intervention,
    inversion,
    lookalikes,
    necessary,
    paper_vs_ours,
    prior,
    real_films,
    real_truth,
    severity,
    subspace,
    time_to_quality,
    validation,
)

_MODULES = (
    *(fidelity, ablations, lookalikes, audit, intervention, inversion, paper_vs_ours),
    *(validation, default_run, faithfulness, half_blind, faults, time_to_quality),
    *(necessary, subspace, prior, ends, findings, carrying, real_truth, real_films, severity),
    detail,
)
STUDIES = {module.STUDY.name: module.STUDY for module in _MODULES}
