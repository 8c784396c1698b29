"""Every field that a config may set, with its default; an experiment overrides some of them.

Within which range, cxr_jax/pipeline/field_ranges.py says in the same order.
"""

from collections.abc import Callable, Mapping

from ml_collections import ConfigDict


def get_augmentation() -> ConfigDict:
    """How differently a patient may stand and a film be exposed; see cxr_jax/data/augment.py."""
    return ConfigDict(
        dict(
            shift=0.06,
            rotation=5.0,
            zoom=0.06,
            brightness=0.1,
            contrast=0.15,
            noise=0.02,
            detail=0.0,
            support_devices=0.0,
        )
    )


def get_convention() -> ConfigDict:
    """What a published classifier expects, and which of its answers is explained.

    TorchXRayVision: input_size=224, black=(-1024.0,), white=(1024.0,), outputs=18. ImageNet's:
    channels=3 and, for each of them, (0 - mean) / std and (1 - mean) / std.
    """
    return ConfigDict(
        dict(
            input_size=0,  # pixels, to which films are resized; 0: their own size
            channels=1,
            black=(-1.0,),  # what a black and a white pixel become: one number,
            white=(1.0,),  # or one for each channel
            outputs=1,  # logits
            positive_output=0,  # the logit that is explained,
            negative_output=-1,  # less this one; -1 for none
            threshold=0.5,  # probability from which the classifier says so
        )
    )


def get_classifier() -> ConfigDict:
    """The explained classifier."""
    return ConfigDict(
        dict(
            architecture="compact",  # or plain, vgg16, densenet121, resnet50
            patients="all",  # of the training films; or "one half", "other half"
            # of compact and plain: channels at 1/2, 1/4, 1/8, 1/16 of the image size
            widths=(16, 32, 64, 96),
            # Of the same: what it is shown, the half left, right, upper, lower, or lungs; "": all.
            visible="",
            # Of visible="lungs": as those of evaluators.segmenter, which is trained to find them.
            segmenter_widths=(16, 24, 32, 48),
            convention=get_convention(),  # of all others
            # "package.module:function", images [b, h, w, 1] in [-1, 1] to margins [b] or logits:
            # a classifier of your own, in place of any that is trained here
            module="",
            weights="",  # .safetensors, .pth, .pt or .ckpt, to begin with; "": from scratch
            new_head=False,  # the last layers begin afresh, whatever `weights` holds
            # Of the computation, or bfloat16; parameters, losses and statistics are float32.
            dtype="float32",
            batch_size=64,
            num_steps=1000,  # 0: `weights` are used as they are
            eval_every=200,  # steps; validation AUROC picks the best
            learning_rate=2e-3,
            weight_decay=1e-3,
            label_smoothing=0.05,
            ema_decay=0.98,
            augmentation=get_augmentation(),
        )
    )


def get_judge() -> ConfigDict:
    """The independent classifier h: of another kind, with other seed, widths and augmentation."""
    judge = get_classifier()
    judge.architecture = "plain"
    judge.widths = (16, 32, 48, 64)
    judge.num_steps = 800
    judge.augmentation.shift = 0.09
    judge.augmentation.contrast = 0.25
    judge.augmentation.noise = 0.04
    return judge


def get_paper() -> ConfigDict:
    """The paper's networks, for 128 x 128 pixels; see cxr_jax/models/paper.py."""
    return ConfigDict(
        dict(
            num_z_structure=100,
            num_z_class=10,
            generator_widths=(768, 384, 256, 192, 64),
            discriminator_widths=(16, 32, 64, 128, 256, 512),
            dropout=0.5,
        )
    )


def get_gan() -> ConfigDict:
    """Generator, encoder and discriminator."""
    return ConfigDict(
        dict(
            networks="ours",  # or "paper", whose sizes are in the section `paper`
            paper=get_paper(),
            z_structure_channels=(16, 6, 3),  # of z_structure at 1/16, 1/8, 1/4 of the image size
            z_class_channels=(4, 2),  # of z_class at 1/8, 1/4 of the image size
            spatial_z_class=True,  # False: z_class has no maps but one cell for the whole image
            generator_widths=(96, 96, 48, 32),  # at 1/16, 1/8, 1/4, 1/2
            encoder_widths=(16, 32, 64, 96),  # at 1/2, 1/4, 1/8, 1/16
            discriminator_widths=(16, 32, 64, 96),  # at 1/2, 1/4, 1/8, 1/16
            critic_widths=(32, 32, 64),  # of the critic of z_structure, from its finest map on
            objective="ours",  # or "paper", without weights and augmentation: paper_objective.py
            entropy_weight=1.0,  # objective "paper": w, of the classifier's cross-entropy
            mode_seeking_weight=0.0,  # objective "paper": against mode collapse
            conditioning="graded",  # by f's margin; "binary": by its decision; "label"
            num_grades=5,  # 0: f says negative; 1-4: by f's margin
            dtype="float32",  # of generator, encoder and discriminator, as in `get_classifier`
            seed=0,  # added to the seed of everything: another GAN of the same classifier
            batch_size=32,
            num_steps=1400,
            generator_learning_rate=1e-3,
            discriminator_learning_rate=1e-3,
            beta1=0.5,
            beta2=0.99,
            ema_half_life=200.0,  # steps
            r1_weight=0.5,
            r1_every=16,  # steps
            weights=dict(  # of the terms in cxr_jax/training/loss_terms.py
                pixel=50.0,
                feature=1.0,
                margin=4.0,
                locality=1.0,
                smoothness=5.0,
                removal=50.0,
                transplant=5.0,
                null_change=5.0,
                necessity=10.0,
                kl_z_structure=1.0,
                kl_z_class=0.1,
                confusion=1.0,
                adversarial=1.0,
            ),
            augmentation=dict.fromkeys(get_augmentation(), 0.0),
            log_every=50,
            save_every=350,
        )
    )


def get_encoder() -> ConfigDict:
    """The encoder's own training against the finished generator."""
    return ConfigDict(
        dict(
            batch_size=32,
            num_steps=200,
            learning_rate=3e-4,
            log_every=50,
            save_every=100,
        )
    )


def get_prior() -> ConfigDict:
    """Where the latents of films lie, from which chests are drawn."""
    return ConfigDict(
        dict(
            num_axes=256,  # principal axes of each latent that films are taken to vary along
            num_bent=64,  # the first of them, which a field carries to where those of films are
            width=256,  # of the layers of that field
            depth=3,
            ode_steps=16,  # of following it
            batch_size=128,
            num_steps=2000,  # 0: the Gaussian alone
            learning_rate=2e-3,
            weight_decay=0.0,
            ema_decay=0.995,
            log_every=200,
            save_every=1000,
        )
    )


def get_evaluator() -> ConfigDict:
    """The training of one network that judges explanations."""
    return ConfigDict(
        dict(
            dtype="float32",
            batch_size=64,
            num_steps=600,
            learning_rate=2e-3,
            weight_decay=1e-3,
            ema_decay=0.98,
            augmentation=get_augmentation(),
            log_every=50,
            save_every=200,
        )
    )


def get_segmenter() -> ConfigDict:
    """Of the lungs."""
    segmenter = get_evaluator()
    segmenter.num_steps = 400
    segmenter.only_label = -1  # 0 or 1: learn from the masks of one class alone
    segmenter.widths = (16, 24, 32, 48)  # channels at 1/2, 1/4, 1/8, 1/16 of the image size
    return segmenter


def get_regressor() -> ConfigDict:
    """Of the phantom's parameters, for its features."""
    regressor = get_evaluator()
    regressor.num_steps = 1000
    regressor.widths = (16, 32, 64, 96)  # channels at 1/2, 1/4, 1/8, 1/16 of the image size
    regressor.num_features = 128
    # Where the lungs are, how large and how exposed is what it is asked: only noise may be added.
    regressor.augmentation.update(
        dict(shift=0.0, rotation=0.0, zoom=0.0, brightness=0.0, contrast=0.0)
    )
    return regressor


def get_robust() -> ConfigDict:
    """The adversarially trained classifier."""
    robust = get_evaluator()
    robust.num_steps = 900
    robust.warmup_steps = 450  # over which the attack grows to its strength
    robust.widths = get_classifier().widths
    robust.label_smoothing = get_classifier().label_smoothing
    # On the [-1, 1] scale. One large step in training is as good as many small ones, and faster.
    robust.attack = dict(epsilon=0.05, step_size=0.0625, num_steps=1)
    robust.test_attack = dict(epsilon=0.05, step_size=0.01, num_steps=20)
    return robust


def get_evaluators() -> ConfigDict:
    """Networks that judge explanations, trained apart; the segmenter may be part of f as well."""
    return ConfigDict(
        dict(
            names=(),  # of those to train: segmenter, regressor, robust
            segmenter=get_segmenter(),
            regressor=get_regressor(),
            robust=get_robust(),
        )
    )


def get_figures() -> ConfigDict:
    """How figures look; the choices of maps are those that any colour vision tells apart."""
    return ConfigDict(
        dict(
            formats=("png",),  # and "pdf", whose letters and lines are no pixels
            font="DejaVu Sans",  # one that is installed
            font_size=9.0,  # points, of a panel's title; small print follows
            change_map="RdBu_r",  # or PuOr_r, BrBG_r, PRGn_r: what is added, what is taken away
            heat_map="magma",  # or inferno, viridis, cividis, gray: of maps that have no sign
            animations=("gif",),  # and "png", which is an APNG: walks of the run's own test films
        )
    )


def get_explain() -> ConfigDict:
    """Inversion, walks and what is reported."""
    return ConfigDict(
        dict(
            num_images=64,  # test films walked, half of them called positive by f
            films=(),  # names of test films to be surely among them, and shown first
            dir="",  # a folder of films that are in no split: these are explained instead
            num_skipped=0,  # test films of each decision left out before those
            num_validation_images=64,  # films that set thresholds and choose the map's path
            batch_size=32,
            inversion=dict(
                start="encoder",  # or "origin": without one
                corrections=2,  # of the encoder's guess, by its answer to what it draws
                num_steps=12,
                # a second step each, towards the film without its finding
                alternate_lesion_free_steps=True,
                learning_rate=0.15,
                beta1=0.7,
                beta2=0.5,
                z_class_lr_scale=0.1,  # of that rate, for z_class
                weights=dict(pixel=50.0, feature=1.0, margin=2.0, cross_entropy=0.0, prior=0.03),
            ),
            paths=("linear", "aligned", "necessary"),  # see cxr_jax/explain/paths.py for all
            # see cxr_jax/explain/maps.py for all
            maps=(
                *("latent", "latent_integrated_gradients", "residual", "gradient", "grad_cam"),
                *("expected_gradients", "prior", "shuffled", "oracle"),
            ),
            occlusion_windows=8,  # across the image, of map latent_occlusion
            layer_cam_stage="stage_2",  # of f's feature maps
            integrated_gradients_steps=64,  # from a black film
            smoothgrad_samples=32,
            smoothgrad_noise=0.2,  # standard deviation on the [-1, 1] scale
            walk_steps=24,
            # By how much of the mean a unit of change must move f to be kept whole; and how far the
            # walk goes, in the length of its linear one.
            necessary=dict(least_felt=0.5, gain=1.5),
            geodesic=dict(num_points=7, num_steps=20, learning_rate=0.05),
            natural=dict(damping=0.1, num_products=4),
            aligned_reach=1.5,  # length of aligned walks, in linear walks' median length
            gate_margin=0.25,  # of the class gap
            gate_percentile=99.0,  # of the validation films' reconstruction error in the lungs
            bootstrap=2000,
            num_figure_rows=8,  # films in a figure of the run's own test films
            num_page_films=24,  # films in report.html
            figures=get_figures(),
        )
    )


def get_manifest() -> ConfigDict:
    """What the columns of a table of films mean; see docs/data.md, "Public sets".

    Where a field is empty the preset's is taken, or what its comment begins with; "-" or ("-",)
    leaves out what the preset has. A *template* is a column's name, or text with columns in braces,
    such as "images/{Image Index}". *Words* are values of a cell: a text, ">=7" and the like, "" for
    an empty cell, "*" for any value; "{finding}" stands for data.positive_class.
    """
    return ConfigDict(
        dict(
            # nih, chexpert, rsna, covid19_radiography, covidx, covid_chestxray, brixia, padchest,
            # vindr
            preset="",
            tables=(),  # files below data.dir; or ("{files}",), the names of the films' own files
            table_splits=(),  # of each table, where tables are splits
            delimiter="",  # , or ; | tab space
            encoding="",  # utf-8, latin-1, utf-16
            header="",  # yes, no
            columns=(),  # their names, where there is no header or a wrong one
            row_pattern="",  # a regular expression of a line; its named groups are the columns
            extra_cells="",  # refuse, ignore: cells beyond the header
            path="",  # template: the film's file; its ending and upper folders may be missing
            mask="",  # template: its lung mask's file; {stem} is the film's name without ending
            patient="",  # template; without it each film is a patient of its own
            patient_pattern="",  # a regular expression whose one group cuts the patient out of it
            source="",  # template: hospital or detector, for films of more than 8 bits
            label="",  # template: the cell with the label
            label_kind="",  # value, list, python list: what the cell holds
            label_separator="",  # of a list
            label_width=0,  # characters to which the cell is filled up by zeros on the left
            label_pattern="",  # a regular expression whose one group cuts the value out of the cell
            positive=(),  # words; ("{finding}",)
            negative=(),  # words; what is neither is left out and counted
            uncertain=(),  # words
            uncertain_as="",  # leave out, positive, negative
            negative_label="",  # template: another cell, of which `negative` is said
            rows="",  # agree, as several rows of a film must; any: one positive row is enough
            reader="",  # template: who has read the film, where several did
            min_readers=0,  # 1 or more, who must find it; where fewer do the film is left out
            view="",  # template
            views=(),  # words: the views that are kept
            keep="",  # template: another condition, such as the modality
            keep_values=(),  # words: what is kept
            split="",  # template; without it, lists and table_splits films are split by patient
            split_train=(),  # words; ("train", "training")
            split_validation=(),  # words; ("val", "valid", "validation")
            split_test=(),  # words; ("test", "testing")
            train_list="",  # a file below data.dir with one film's name a line
            validation_list="",
            test_list="",
        )
    )


def get_config() -> ConfigDict:
    """The whole config."""
    return ConfigDict(
        dict(
            seed=0,
            data=dict(
                name="cxr_phantom",  # or cxr_folder, cxr_manifest
                image_size=64,
                shuffle_labels=False,  # of train and validation, for the sanity check of maps
                cache_dir="",  # where TFDS keeps prepared data; "" is its own default
                # cxr_phantom
                num_train=5000,
                num_validation=500,
                num_test=500,
                marker_train=(0.0, 0.0),  # P(marker | positive), P(marker | negative)
                marker_test=(0.0, 0.0),
                # what the label is about: nodule, effusion, pneumothorax, cardiomegaly, reticular,
                finding="opacity",  # or this
                distractors=0.0,  # P(another one of these), whatever the label
                # of opacities: left, right, upper, lower, the half that the label is about
                finding_half="",
                # cxr_folder and cxr_manifest
                dir="",
                positive_class="covid",
                negative_classes=(),  # of cxr_folder: names of their folders; (): all others
                split_column="split",  # of cxr_folder
                skip_unreadable=False,
                square="crop",  # to the centre, or "pad" with black: films that are not square
                bits=0,  # 8 to 16, of the detector of deep films; 0: decided for each source
                # DICOM films of other views than frontal: or "leave_out", "use"
                lateral_views="refuse",
                # cxr_manifest
                manifest=get_manifest(),
            ),
            classifier=get_classifier(),
            judge=get_judge(),
            gan=get_gan(),
            encoder=get_encoder(),
            prior=get_prior(),
            evaluators=get_evaluators(),
            explain=get_explain(),
        )
    )


def set_dtype(config: ConfigDict, dtype: str) -> None:
    """The numeric type in which every network computes."""
    evaluators = [config.evaluators[name] for name in ("segmenter", "regressor", "robust")]
    for section in (config.classifier, config.judge, config.gan, *evaluators):
        section.dtype = dtype


def shrink(config: ConfigDict) -> None:
    """Variant `tiny`: every size as small as still runs through."""
    config.data.num_train, config.data.num_validation, config.data.num_test = 256, 48, 48
    for section in (config.classifier, config.judge):
        section.update(dict(num_steps=60, eval_every=30, batch_size=32, ema_decay=0.9))
    config.gan.update(dict(num_steps=20, batch_size=16, log_every=10, save_every=10))
    config.encoder.update(dict(num_steps=10, batch_size=16, log_every=5, save_every=5))
    config.prior.update(dict(num_steps=10, batch_size=16, log_every=5, save_every=5, width=32))
    for name in ("segmenter", "regressor", "robust"):
        config.evaluators[name].update(
            dict(num_steps=24, batch_size=32, ema_decay=0.9, log_every=12, save_every=12)
        )
    config.evaluators.robust.warmup_steps = 12
    config.explain.update(
        dict(
            num_images=8,
            num_validation_images=8,
            batch_size=8,
            walk_steps=4,
            bootstrap=100,
            num_figure_rows=2,
        )
    )
    config.explain.inversion.num_steps = 4


def show(part: str) -> Callable[[ConfigDict], None]:
    """Shows f and h a part of a film alone: what is drawn elsewhere is wrong."""

    def change(config: ConfigDict) -> None:
        config.classifier.visible = config.judge.visible = part

    return change


def in_order(*changes: Callable[[ConfigDict], None]) -> Callable[[ConfigDict], None]:
    """One change after the other."""

    def change(config: ConfigDict) -> None:
        for each in changes:
            each(config)

    return change


def apply_variant(
    config: ConfigDict, name: str, variants: Mapping[str, Callable[[ConfigDict], None]]
) -> ConfigDict:
    """Applies the variant after the colon of `--config=file.py:variant`; `""` changes nothing.

    Raises:
      ValueError: if there is no such variant.
    """
    if name:
        if name not in variants:
            raise ValueError(f"unknown variant {name!r}; choose one of {', '.join(variants)}")
        variants[name](config)
    return config
