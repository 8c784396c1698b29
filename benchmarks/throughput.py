"""How many images a second does every training step take, by config, and how much memory?

Random pixels and untrained networks: a step's speed does not depend on what it has learned. Each
figure is the median over the timed calls; the GAN's includes its share of the lazy penalty. Memory
is the peak of the process. Results stand beside those of other configs and devices.
"""

import resource
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import jax
import ml_collections
import numpy as np

from benchmarks import steps
from cxr_jax.models.model import Model
from cxr_jax.networks.build import (
    fresh_params,
    init_gan_params,
    make_classifier,
    make_gan_networks,
)
from cxr_jax.networks.grading import Scale
from cxr_jax.runtime import parallel
from cxr_jax.training import classifier, ema, encoder, gan, gan_state
from cxr_jax.training.gan_state import FrozenInputs, StepHParams
from cxr_jax.training.supervised import make_optimizer
from experiments.markdown import table
from experiments.study import Flag, Options, Study

# Of NumPy: an import must not look for devices, which may be those of an absent TPU.
SCALE = Scale(negative=np.float32(-3.0), strong=np.float32(4.0))


def random_batch(rows: int, size: int) -> dict[str, np.ndarray]:
    """Pixels, labels and positions of a batch."""
    rng = np.random.Generator(np.random.Philox(0))
    return {
        "image": rng.integers(256, size=(rows, size, size, 1), dtype=np.uint8),
        "label": rng.integers(2, size=rows, dtype=np.int32),
        "index": np.arange(rows, dtype=np.int32),
    }


def seconds(call: Callable, state, calls: int) -> float:
    """Median seconds of `state = call(state)`, after one call that compiles."""
    state = jax.block_until_ready(call(state))
    times = []
    for _ in range(calls):
        start = time.perf_counter()
        state = jax.block_until_ready(call(state))
        times.append(time.perf_counter() - start)
    return float(np.median(times))


def classifier_rate(config: ml_collections.ConfigDict, calls: int) -> float:
    """Images per second of the classifier's step."""
    section = config.classifier
    network, optimizer = make_classifier(section), make_optimizer(section)
    step = classifier.map_train_step(section, network, optimizer, seed=config.seed)
    params = fresh_params(network, config.data.image_size, config.seed)
    state = ema.init_state(params, optimizer)
    batch = parallel.shard(random_batch(section.batch_size, config.data.image_size))
    once = lambda state: step(state, batch, None)[0]
    return section.batch_size / seconds(once, parallel.replicate(state), calls)


def frozen_inputs(config: ml_collections.ConfigDict, hparams: StepHParams) -> FrozenInputs:
    """What the GAN's steps are given beside state and batch, of an untrained classifier."""
    network = make_classifier(config.classifier)
    params = fresh_params(network, config.data.image_size, 0)
    return FrozenInputs(classifier=Model(network, params), scale=SCALE, hparams=hparams)


def gan_rate(config: ml_collections.ConfigDict, calls: int) -> float:
    """Images per second of the GAN's step, the R1 penalty's share included."""
    section = config.gan
    networks, optimizers = make_gan_networks(config), gan_state.make_optimizers(section)
    step = gan.map_train_step(config, networks, optimizers)
    hparams = gan.make_hparams(config, section.objective)
    frozen = parallel.replicate(frozen_inputs(config, hparams))
    batch = parallel.shard(random_batch(section.batch_size, config.data.image_size))

    def fresh():
        players = init_gan_params(networks, config.seed)
        return parallel.replicate(gan_state.init_state(*players, optimizers))

    main = seconds(lambda state: step(state, batch, frozen)[0], fresh(), calls)
    if "penalty" not in steps.names(config):
        return section.batch_size / main
    penalty = gan.map_penalty_step(config, networks, optimizers)
    lazy = seconds(lambda state: penalty(state, batch, frozen)[0], fresh(), calls)
    return section.batch_size / (main + lazy / section.r1_every)


def encoder_rate(config: ml_collections.ConfigDict, calls: int) -> float:
    """Images per second of the encoder's own step."""
    section = config.encoder
    networks, optimizer = make_gan_networks(config), encoder.make_optimizer(section)
    step = encoder.map_train_step(config, networks, optimizer)
    params, discriminator = init_gan_params(networks, config.seed)
    frozen = parallel.replicate(
        encoder.FrozenGan(
            generator=params["generator"],
            discriminator=discriminator,
            inputs=frozen_inputs(config, encoder.make_encoder_hparams(config)),
        )
    )
    batch = parallel.shard(random_batch(section.batch_size, config.data.image_size))
    state = encoder.init_state(params["encoder"], optimizer)
    once = lambda state: step(state, batch, frozen)[0]
    return section.batch_size / seconds(once, parallel.replicate(state), calls)


MEASURES = {"classifier": classifier_rate, "gan": gan_rate, "encoder": encoder_rate}


def to_markdown(results: Mapping[str, Mapping]) -> str:
    """Images per second by config and devices."""
    rows = []
    for name, result in results.items():
        rates = result["images_per_second"]
        cells = (f"{rates[step]:,.0f}" if step in rates else "–" for step in MEASURES)
        rows.append([name, *cells, f"{result['peak_memory_gib']:.1f}"])
    head = ["images/s", *MEASURES, "peak memory of the process, GiB"]
    return "\n".join(table(head, rows)) + "\n"


def run(options: Options) -> Iterator[dict]:
    """Measures, beside what is there of other configs and devices."""
    config = options.config
    rates = {
        name: measure(config, options.own["calls"])
        for name, measure in MEASURES.items()
        if name in steps.names(config)
    }
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    device = jax.devices()[0]
    devices = f"{jax.device_count()} x {device.device_kind} ({device.platform})"
    result = {
        "config": config.to_dict(),
        "images_per_second": {name: round(rate, 1) for name, rate in rates.items()},
        "peak_memory_gib": round(peak, 2),
    }
    yield {**options.known, f"{Path(options.config_file).name}, {devices}": result}


STUDY = Study(
    name="throughput",
    doc=__doc__,
    run=run,
    to_markdown=to_markdown,
    config="configs/phantom.py",
    flags=(Flag(name="calls", default=15, help="Timed calls of each step."),),
)
