"""The story of one cell: cached features → heads → temperature → `unknown` → figures → files in the run folder."""

from __future__ import annotations

import json
import sqlite3
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from edge_classify.learn.cross_validation import Calibration
from edge_classify.learn.memory import Memory, remember
from edge_classify.learn.open_set import MAX_PHOTOS, SHAPE_CONSTANTS
from edge_classify.learn.photos.photo_set import NEGATIVE, TRAINING
from edge_classify.system.atomic_write import write_atomic

from . import run_folder
from .backbone import BackboneCost, copy_weights
from .cache import open_cache
from .enough import learning_curve_of
from .features import gather_features, read_cost
from .fine_tuned_fit import fit_fine_tuned, forget_fold_networks
from .fitting import Fit, calibrate_fit, fit_frozen, fit_spaces, fit_unknown, validate, views_do_harm
from .measuring import CellModel, measure, measure_accuracy
from .training_run import CellJob


def fit_cell(job: CellJob) -> dict[str, Any]:
    """Fit and measure one cell: its arrays go to the run folder; its entry in run.json is returned, and kept there.

    A cell that is there already, from the same photos and settings, is not fitted again.
    """
    fitted = read_fitted(job)
    if fitted is not None:
        return fitted
    began = time.perf_counter()
    with open_cache() as database:
        entry = _fit_and_measure(job, database)
    entry |= {"key": job.key, "seconds": round(time.perf_counter() - began, 2)}
    write_atomic(_entry_path(job), json.dumps(entry, indent=1))
    return entry


def read_fitted(job: CellJob) -> dict[str, Any] | None:
    """The entry of the cell, if it was fitted on the same photos, with the same settings."""
    path = _entry_path(job)
    if not path.exists():
        return None
    entry: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return entry if entry.get("key") == job.key else None


def _entry_path(job: CellJob) -> Path:
    return job.run.folder / "heads" / f"{job.name}.json"


def _fit_and_measure(job: CellJob, database: sqlite3.Connection) -> dict[str, Any]:
    settings = job.run.settings
    fit = fit_frozen(job, database)
    without_views = views_do_harm(job, database, fit)
    if without_views:
        job = job.without_views()
        fit = fit_frozen(job, database)
    learning_curve = learning_curve_of(job, fit)
    fine_tuning: dict[str, Any] = {}
    if settings.fine_tune:
        _, frozen = _calibrated(job, database, fit)
        fine_tuning["frozen_accuracy"] = measure_accuracy(job, database, fit, frozen)
        fit = fit_fine_tuned(job, database, fit)
        fine_tuning |= {"fine_tuned": fit.tuned_share > 0, "fine_tuned_share": fit.tuned_share}
    calibration, model = _calibrated(job, database, fit)
    forget_fold_networks(database, fit)
    measurement = measure(job, database, fit, model, fine_tuning)
    cost = read_cost(database, job.backbone)
    decision = _decision(job, cost, calibration, model)
    decision["validation"] = validate(job, fit, calibration).encode()
    if without_views:
        decision["views"] = 0
    cell = run_folder.new_cell(
        job.backbone,
        cost,
        copy_weights(fit.backbone, job.run.folder / "weights"),
        model.arrays(),
        measurement.held_out,
        decision,
        measurement.evaluation,
    )
    if model.open_set is not None:
        cell = replace(cell, memory=remember_photos(job, database, fit, cost.features))
    entry = run_folder.write_cell(job.run.folder, cell, measurement.negative_arrays())
    return {**entry, "curves": asdict(fit.curves), "learning_curve": learning_curve.encode()}


def _calibrated(job: CellJob, database: sqlite3.Connection, fit: Fit) -> tuple[Calibration, CellModel]:
    spaces = fit_spaces(job, database, fit) if job.run.settings.unknown else None
    calibration = calibrate_fit(fit, spaces)
    open_set = None if spaces is None else fit_unknown(job, fit, spaces, calibration)
    return calibration, CellModel(calibration.head, calibration.vote_weight, open_set)


def remember_photos(job: CellJob, database: sqlite3.Connection, fit: Fit, features: int) -> Memory:
    """What model files remember of the photos: of many, some spread over them are chosen from."""
    labels = fit.examples.labels
    groups = []
    for label in range(len(job.run.photos.labels)):
        members = np.flatnonzero(labels == label)
        groups.append(fit.examples.read(members[:: -(-len(members) // MAX_PHOTOS) or 1]))
    negatives = job.run.photos.negatives(TRAINING)[:MAX_PHOTOS]
    groups.append(gather_features(database, fit.backbone, negatives).read(range(len(negatives))))
    named = [*range(len(groups) - 1), NEGATIVE]
    order = np.repeat(named, [len(group) for group in groups])
    counts = np.bincount(labels, minlength=len(job.run.photos.labels))
    return remember(np.concatenate(groups), features, order, counts)


def _decision(job: CellJob, cost: BackboneCost, calibration: Calibration, model: CellModel) -> dict[str, Any]:
    """How temperature and `unknown` were fitted, with the numbers that edge-convert needs beside the arrays."""
    decision: dict[str, Any] = {
        "temperature": round(calibration.temperature, 4),
        "chosen_on": len(calibration.probabilities),
        "choosing_loss": round(calibration.loss, 6),
    }
    open_set = model.open_set
    if open_set is None:
        return decision
    return decision | {
        "keep": job.run.keep,
        "vote_weight": model.vote_weight,
        "features": cost.features,
        "dimensions": len(open_set.space.basis),
        "prototypes": len(open_set.space.prototypes),
        "sharpness": open_set.sharpness.tolist(),
        "threshold": open_set.threshold.tolist(),
        **SHAPE_CONSTANTS,
    }
