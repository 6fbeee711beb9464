"""Rules of tabular jobs (all of V1): mode, algorithms, sample weights, split, candidate definitions."""

from __future__ import annotations

from airflow_automl.contract.rules.registry import Finding, Findings, reject, warn
from airflow_automl.contract.rules.request import JobRequest
from airflow_automl.contract.values import DEFAULT_VALIDATION_FRACTION, MODE_ALGORITHMS
from airflow_automl.contract.wording import alternatives, counted, show

_ANY_MODE = tuple(sorted({name for names in MODE_ALGORITHMS.values() for name in names}))


@reject("R53")
def no_algorithms_in_auto(job: JobRequest) -> Findings:
    """AUTO chooses the algorithms itself."""
    if job.problem == "Tabular" and job.config.get("Mode") == "AUTO" and job.generation.has("AlgorithmsConfig"):
        yield Finding(
            job.generation.at("AlgorithmsConfig"),
            "received although Mode is AUTO, which chooses the algorithms itself; "
            "leave it out, or set Mode to ENSEMBLING or HYPERPARAMETER_TUNING",
        )


@reject("R54")
def one_set_of_algorithms(job: JobRequest) -> Findings:
    """AlgorithmsConfig has one entry, and that names its algorithms."""
    entries = job.generation.nodes("AlgorithmsConfig")
    if len(entries) > 1:
        yield Finding(
            job.generation.at("AlgorithmsConfig"),
            f"received {counted(len(entries), 'entry')}; put all algorithms into one entry's AutoMLAlgorithms",
        )
    for entry in entries:
        if entry.present and not entry.has("AutoMLAlgorithms"):
            yield Finding(
                entry.at("AutoMLAlgorithms"), "is missing; name the algorithms, or give [] for the mode's full set"
            )


@warn("R54")
def empty_algorithms_config(job: JobRequest) -> Findings:
    """What an empty AlgorithmsConfig means is disputed."""
    if job.generation.get("AlgorithmsConfig") == []:
        yield Finding(
            job.generation.at("AlgorithmsConfig"),
            "received an empty list; leave it out for the full set of algorithms",
        )


@reject("R55")
def algorithms_of_mode(job: JobRequest) -> Findings:
    """Every algorithm is one that the mode, or any mode if none is given, can train."""
    if job.problem != "Tabular":
        return
    mode = job.config.get("Mode")
    if isinstance(mode, str) and mode in MODE_ALGORITHMS:
        valid, trained_by = MODE_ALGORITHMS[mode], mode
    elif not job.config.has("Mode"):
        valid, trained_by = _ANY_MODE, "tabular jobs"
    else:
        return
    for path, name in job.algorithms:
        if name not in valid:
            others = [other for other, names in MODE_ALGORITHMS.items() if name in names]
            hint = f"; {name} needs Mode {alternatives(others)}" if others else ""
            yield Finding(path, f"received {show(name)}; algorithms of {trained_by} are {alternatives(valid)}{hint}")


@reject("R56")
def algorithms_of_one_mode(job: JobRequest) -> Findings:
    """Algorithms given without a mode fit at least one of the two modes, all together."""
    if _modeless(job) and not _fitting_modes(job):
        yield Finding(
            job.generation.at("AlgorithmsConfig"),
            f"received {show([name for _, name in job.algorithms])} without Mode; no mode trains all of these: "
            + "; ".join(f"{mode} has {', '.join(names)}" for mode, names in MODE_ALGORITHMS.items()),
        )


@warn("R56")
def mode_for_algorithms(job: JobRequest) -> Findings:
    """AlgorithmsConfig without a mode is not described."""
    if _modeless(job) and (modes := _fitting_modes(job)):
        yield Finding(
            job.generation.at("AlgorithmsConfig"),
            f"received without Mode, whose default is not documented; set Mode to {alternatives(modes)}",
        )


@warn("R57")
def each_algorithm_once(job: JobRequest) -> Findings:
    """An algorithm that is named twice is trained once."""
    seen = set()
    for path, name in job.algorithms:
        if name in seen:
            yield Finding(path, f"received {show(name)} again; it is trained once")
        seen.add(name)


@reject("R65")
def weights_in_ensembling_only(job: JobRequest) -> Findings:
    """HYPERPARAMETER_TUNING knows no sample weights."""
    if job.config.get("Mode") == "HYPERPARAMETER_TUNING":
        for holder, _ in job.weighted:
            yield Finding(
                holder.at("SampleWeightAttributeName"),
                f"received {show(holder.get('SampleWeightAttributeName'))} with Mode HYPERPARAMETER_TUNING; "
                "sample weights need Mode ENSEMBLING",
            )


@reject("R65")
def same_weights_on_channels(job: JobRequest) -> Findings:
    """Training and validation channel of V1 have the same weight column."""
    if job.api != "V1" or job.pair is None:
        return
    first, second = (channel.text("SampleWeightAttributeName") for channel in job.pair)
    if first is not None and second is not None and first != second:
        yield Finding(
            job.pair[1].at("SampleWeightAttributeName"),
            f"received {show(second)}, but the other channel has {show(first)}; "
            "training and validation channel must name the same weight column",
        )


@warn("R65")
def weights_in_auto(job: JobRequest) -> Findings:
    """Where AUTO resolves to HYPERPARAMETER_TUNING, a job with weights fails."""
    if job.automatic:
        for holder, _ in job.weighted:
            yield Finding(
                holder.at("SampleWeightAttributeName"),
                "received without Mode ENSEMBLING; the job fails if the size of its data chooses "
                "HYPERPARAMETER_TUNING: set Mode to ENSEMBLING",
            )


@warn("R67")
def weight_is_not_target(job: JobRequest) -> Findings:
    """The weight column is not the target column."""
    for holder, target in job.weighted:
        if holder.get("SampleWeightAttributeName") == target:
            yield Finding(
                holder.at("SampleWeightAttributeName"),
                f"received {show(target)}, the target column; name the column that holds the weights",
            )


@reject("R68")
def fraction_between_bounds(job: JobRequest) -> Findings:
    """Both parts of the split have data, although the model includes the bounds."""
    fraction = job.split.number("ValidationFraction")
    if fraction is not None and not 0 < fraction < 1:
        yield Finding(
            job.split.at("ValidationFraction"),
            f"received {show(fraction)}; must be more than 0 and less than 1 (default {DEFAULT_VALIDATION_FRACTION})",
        )


@warn("R68")
def fraction_below_half(job: JobRequest) -> Findings:
    """More data for training than for validation is advised."""
    fraction = job.split.number("ValidationFraction")
    if fraction is not None and 0.5 <= fraction < 1:
        yield Finding(
            job.split.at("ValidationFraction"),
            f"received {show(fraction)}; less than 0.5 is advised: only the rest is used for training",
        )


@warn("R70")
def split_or_validation_channel(job: JobRequest) -> Findings:
    """A validation channel leaves nothing to split."""
    if job.problem != "TimeSeriesForecasting" and job.split.present and job.validation_channel is not None:
        yield Finding(
            job.split.path,
            f"received together with a validation channel ({job.validation_channel.path}), which is then used; "
            "leave out one of them",
        )


@warn("R71")
def definitions_in_ensembling(job: JobRequest) -> Findings:
    """Candidate definitions are what HYPERPARAMETER_TUNING works from."""
    if job.definitions_only and job.config.get("Mode") == "ENSEMBLING":
        yield Finding(
            job.statement.at("GenerateCandidateDefinitionsOnly"),
            "received with Mode ENSEMBLING; candidate definitions belong to HYPERPARAMETER_TUNING, "
            "and what this yields is not documented",
        )


def _modeless(job: JobRequest) -> bool:
    return job.problem == "Tabular" and not job.config.has("Mode") and bool(job.generation.items("AlgorithmsConfig"))


def _fitting_modes(job: JobRequest) -> list[str]:
    given = {name for _, name in job.algorithms}
    return [mode for mode, names in MODE_ALGORITHMS.items() if given <= set(names)]
