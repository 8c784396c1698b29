"""The range of every field of configs/base.py, section by section and in its order.

What a field means and what it is by default stands there. A range leaves out what nothing can be
computed with, and what no one can want: a mistyped number should not cost an hour.
"""

import dataclasses

from cxr_jax.data.arrays import DATA_SETS, PATIENTS
from cxr_jax.datasets.cxr_folder.dicom_notes import LATERAL_VIEWS
from cxr_jax.datasets.cxr_folder.image_files import SQUARES
from cxr_jax.datasets.cxr_manifest.column_map import (
    DELIMITERS,
    ENCODINGS,
    EXTRA_CELLS,
    HEADER,
    LABEL_KINDS,
    ROWS,
    UNCERTAIN,
    ColumnMap,
)
from cxr_jax.datasets.cxr_manifest.presets import PRESETS
from cxr_jax.datasets.cxr_phantom.findings import FINDINGS
from cxr_jax.explain.inversion import STARTS, InversionWeights
from cxr_jax.explain.maps import MAPS
from cxr_jax.explain.paths import PATHS
from cxr_jax.models.half_view import HALVES
from cxr_jax.models.lung_view import LUNGS
from cxr_jax.networks.build import ARCHITECTURES, NETWORKS, OBJECTIVES
from cxr_jax.networks.grading import CONDITIONINGS
from cxr_jax.pipeline.ranges import YES_OR_NO, Line, OneOf, Ranges, Real, Several, Whole
from cxr_jax.plots import CHANGE_MAPS, FORMATS, HEAT_MAPS
from cxr_jax.report.animation import ANIMATIONS
from cxr_jax.runtime.precision import DTYPES
from cxr_jax.training.evaluators import EVALUATORS
from cxr_jax.training.loss_terms import TERMS

MOST_SEEDS = 2**31  # the GAN's seed may be added to it; together they have 32 bits

SEED = Whole(0, MOST_SEEDS - 1)
SHARE = Real(0, 1)
DECAY = Real(0, 1, "[)")  # of an average: at 1 nothing new would enter it
LEARNING_RATE = Real(0, 1, "(]")
LOSS_WEIGHT = Real(0, 1e6)
CHANNELS = Whole(1, 16384)
WIDTHS = Several(CHANNELS, least=1)
BATCH = Whole(1, 65536)


def get_augmentation() -> Ranges:
    """Up to half the image, and never so far that a film is turned into its negative."""
    return dict(
        shift=Real(0, 0.5),
        rotation=Real(0, 180),
        zoom=Real(0, 1, "[)"),
        brightness=Real(0, 2),
        contrast=Real(0, 1, "[)"),
        noise=Real(0, 2),
        detail=Real(0, 3),
        support_devices=Real(0, 10),
    )


def get_convention() -> Ranges:
    """See configs/base.py, as of all that follow."""
    pixels = Several(Real(-1e6, 1e6), least=1, most=1024)
    return dict(
        input_size=Whole(0, 4096),
        channels=Whole(1, 1024),
        black=pixels,
        white=pixels,
        outputs=Whole(1, 100_000),
        positive_output=Whole(0),
        negative_output=Whole(-1),
        threshold=Real(0, 1, "()"),
    )


def get_classifier() -> Ranges:
    """Of f and of h."""
    return dict(
        architecture=OneOf(ARCHITECTURES),
        patients=OneOf(PATIENTS),
        widths=WIDTHS,
        visible=OneOf(("", *HALVES, LUNGS)),
        segmenter_widths=WIDTHS,
        convention=get_convention(),
        module=Line(),
        weights=Line(),
        new_head=YES_OR_NO,
        dtype=OneOf(DTYPES),
        batch_size=BATCH,
        num_steps=Whole(0),
        eval_every=Whole(1),
        learning_rate=LEARNING_RATE,
        weight_decay=Real(0, 10),
        label_smoothing=Real(0, 1, "[)"),
        ema_decay=DECAY,
        augmentation=get_augmentation(),
    )


def get_paper() -> Ranges:
    """The paper's networks."""
    return dict(
        num_z_structure=Whole(1, 65536),
        num_z_class=Whole(1, 65536),
        generator_widths=WIDTHS,
        discriminator_widths=WIDTHS,
        dropout=Real(0, 1, "[)"),
    )


def get_gan() -> Ranges:
    """How many widths fit together, `shape_checks` says."""
    return dict(
        networks=OneOf(NETWORKS),
        paper=get_paper(),
        z_structure_channels=WIDTHS,
        z_class_channels=WIDTHS,
        spatial_z_class=YES_OR_NO,
        generator_widths=WIDTHS,
        encoder_widths=WIDTHS,
        discriminator_widths=WIDTHS,
        critic_widths=WIDTHS,
        objective=OneOf(OBJECTIVES),
        entropy_weight=LOSS_WEIGHT,
        mode_seeking_weight=LOSS_WEIGHT,
        conditioning=OneOf(CONDITIONINGS),
        num_grades=Whole(1, 1024),
        dtype=OneOf(DTYPES),
        seed=SEED,
        batch_size=BATCH,
        num_steps=Whole(1),
        generator_learning_rate=LEARNING_RATE,
        discriminator_learning_rate=LEARNING_RATE,
        beta1=DECAY,
        beta2=DECAY,
        ema_half_life=Real(1e-3, 1e9),
        r1_weight=LOSS_WEIGHT,
        r1_every=Whole(1),
        weights=dict.fromkeys(TERMS, LOSS_WEIGHT),
        augmentation=get_augmentation(),
        log_every=Whole(1),
        save_every=Whole(1),
    )


def get_encoder() -> Ranges:
    """The encoder's own training."""
    return dict(
        batch_size=BATCH,
        num_steps=Whole(0),
        learning_rate=LEARNING_RATE,
        log_every=Whole(1),
        save_every=Whole(1),
    )


def get_prior() -> Ranges:
    """The prior of the latents; `config_checks` says that no more axes are bent than there are."""
    return dict(
        num_axes=Whole(1, 65536),
        num_bent=Whole(1, 65536),
        width=Whole(1, 65536),
        depth=Whole(1, 64),
        ode_steps=Whole(1, 10_000),
        batch_size=BATCH,
        num_steps=Whole(0),
        learning_rate=LEARNING_RATE,
        weight_decay=Real(0, 10),
        ema_decay=DECAY,
        log_every=Whole(1),
        save_every=Whole(1),
    )


def get_evaluator() -> Ranges:
    """The training of one network that judges explanations."""
    return dict(
        dtype=OneOf(DTYPES),
        batch_size=BATCH,
        num_steps=Whole(1),
        learning_rate=LEARNING_RATE,
        weight_decay=Real(0, 10),
        ema_decay=DECAY,
        augmentation=get_augmentation(),
        log_every=Whole(1),
        save_every=Whole(1),
        widths=WIDTHS,
    )


def get_attack() -> Ranges:
    """On the [-1, 1] scale, from one end of which to the other it is 2."""
    return dict(epsilon=Real(0, 2), step_size=Real(0, 2, "(]"), num_steps=Whole(1, 10_000))


def get_evaluators() -> Ranges:
    """Networks that judge explanations."""
    robust = get_evaluator() | dict(
        warmup_steps=Whole(0),
        label_smoothing=Real(0, 1, "[)"),
        attack=get_attack(),
        test_attack=get_attack(),
    )
    return dict(
        names=Several(OneOf(EVALUATORS)),
        segmenter=get_evaluator() | dict(only_label=OneOf((-1, 0, 1))),
        regressor=get_evaluator() | dict(num_features=Whole(1, 65536)),
        robust=robust,
    )


def get_inversion() -> Ranges:
    """Of real films."""
    return dict(
        start=OneOf(STARTS),
        corrections=Whole(0, 1000),
        num_steps=Whole(0, 10**6),
        alternate_lesion_free_steps=YES_OR_NO,
        learning_rate=LEARNING_RATE,
        beta1=DECAY,
        beta2=DECAY,
        z_class_lr_scale=Real(0, 100),
        weights={field.name: LOSS_WEIGHT for field in dataclasses.fields(InversionWeights)},
    )


def get_figures() -> Ranges:
    """How figures look."""
    return dict(
        formats=Several(OneOf(FORMATS), least=1),
        font=Line(may_be_empty=False),
        font_size=Real(4, 24),
        change_map=OneOf(CHANGE_MAPS),
        heat_map=OneOf(HEAT_MAPS),
        animations=Several(OneOf(ANIMATIONS)),
    )


def get_explain() -> Ranges:
    """Inversion, walks and what is reported."""
    return dict(
        num_images=Whole(2),
        films=Several(Line(may_be_empty=False), most=10_000),
        dir=Line(),
        num_skipped=Whole(0),
        num_validation_images=Whole(2),
        batch_size=BATCH,
        inversion=get_inversion(),
        paths=Several(OneOf(PATHS)),
        maps=Several(OneOf(MAPS)),
        occlusion_windows=Whole(1, 1024),
        layer_cam_stage=Line(may_be_empty=False),
        integrated_gradients_steps=Whole(1, 100_000),
        smoothgrad_samples=Whole(1, 100_000),
        smoothgrad_noise=Real(0, 2),
        walk_steps=Whole(1, 10_000),
        necessary=dict(least_felt=Real(0, 1e3, "(]"), gain=Real(0, 100, "(]")),
        geodesic=dict(
            num_points=Whole(2, 10_000),
            num_steps=Whole(0, 10**6),
            learning_rate=LEARNING_RATE,
        ),
        natural=dict(damping=Real(0, 1e6, "(]"), num_products=Whole(1, 10_000)),
        aligned_reach=Real(0, 100, "(]"),
        gate_margin=Real(0, 1e6),
        gate_percentile=Real(0, 100, "(]"),
        bootstrap=Whole(1, 10**6),
        num_figure_rows=Whole(1, 1000),
        num_page_films=Whole(1, 1000),
        figures=get_figures(),
    )


def get_manifest() -> Ranges:
    """How the fields fit together, `choose_map` says."""
    words, names = Several(Line()), Several(Line(may_be_empty=False))
    columns = Several(Line(), most=1024)
    return {field.name: Line() for field in dataclasses.fields(ColumnMap)} | dict(
        preset=OneOf(("", *PRESETS)),
        tables=names,
        table_splits=names,
        delimiter=OneOf(("", *DELIMITERS)),
        encoding=OneOf(("", *ENCODINGS)),
        header=OneOf(("", *HEADER)),
        columns=columns,
        extra_cells=OneOf(("", *EXTRA_CELLS)),
        label_kind=OneOf(("", *LABEL_KINDS)),
        label_width=Whole(0, 1000),
        positive=words,
        negative=words,
        uncertain=words,
        uncertain_as=OneOf(("", *UNCERTAIN)),
        rows=OneOf(("", *ROWS)),
        min_readers=Whole(0, 1000),
        views=words,
        keep_values=words,
        split_train=words,
        split_validation=words,
        split_test=words,
    )


def get_data() -> Ranges:
    """The films."""
    markers = Several(SHARE, 2, 2, "the probability of a positive's marker and of a negative's")
    return dict(
        name=OneOf(DATA_SETS),
        image_size=Whole(16, 4096),
        shuffle_labels=YES_OR_NO,
        cache_dir=Line(),
        num_train=Whole(1),
        num_validation=Whole(2),
        num_test=Whole(2),
        marker_train=markers,
        marker_test=markers,
        finding=OneOf(tuple(FINDINGS)),
        distractors=SHARE,
        finding_half=OneOf(("", *HALVES)),
        dir=Line(),
        positive_class=Line(may_be_empty=False),
        negative_classes=Several(Line(may_be_empty=False)),
        split_column=Line(),
        skip_unreadable=YES_OR_NO,
        square=OneOf(SQUARES),
        bits=OneOf((0, *range(8, 17))),
        lateral_views=OneOf(LATERAL_VIEWS),
        manifest=get_manifest(),
    )


def get_ranges() -> Ranges:
    """The whole config's, by the names of its fields."""
    return dict(
        seed=SEED,
        data=get_data(),
        classifier=get_classifier(),
        judge=get_classifier(),
        gan=get_gan(),
        encoder=get_encoder(),
        prior=get_prior(),
        evaluators=get_evaluators(),
        explain=get_explain(),
    )
