"""Images per second of every training step, by config, and the process's peak memory.

    python benchmarks/throughput.py --config=configs/phantom.py

Random pixels and untrained networks: a step's speed does not depend on what it has learned. Each
figure is the median over the timed calls; the GAN's includes its share of the lazy penalty. Writes
benchmarks/results/throughput.json and .md, beside what is there of other configs and devices,
unless --out is empty.
"""

import resource
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
from absl import app, flags
from ml_collections import config_flags

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import runs, steps  # noqa: E402
from cxr_jax.training import ema
from cxr_jax.training import gan_state
from cxr_jax.runtime import parallel
from cxr_jax.training import classifier
from cxr_jax.training import encoder
from cxr_jax.training import gan
from cxr_jax.networks.grading import Scale

SCALE = Scale(jnp.float32(-3.0), jnp.float32(4.0))


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
    network = classifier.make_classifier(section)
    optimizer = make_optimizer(section)
    step = classifier.map_train_step(section, network, optimizer, config.seed)
    params = classifier.init_params(network, config.data.image_size, config.seed)
    state = ema.init_state(params, optimizer)
    batch = parallel.shard(random_batch(section.batch_size, config.data.image_size))
    once = lambda state: step(state, batch)[0]
    return section.batch_size / seconds(once, parallel.replicate(state), calls)


def gan_rate(config: ml_collections.ConfigDict, calls: int) -> float:
    """Images per second of the GAN's step, the R1 penalty's share included."""
    gan = config.gan
    networks = make_networks(config)
    optimizers = gan_state.make_optimizers(gan)
    step = gan.map_train_step(config, networks, optimizers)
    classifier = classifier.init_params(networks.classifier, config.data.image_size, 0)
    frozen = parallel.replicate((classifier, SCALE))
    setting = parallel.replicate(gan.make_setting(config, gan.objective))
    batch = parallel.shard(random_batch(gan.batch_size, config.data.image_size))

    def fresh():
        players = init_gan_params(networks, config.seed)
        return parallel.replicate(gan_state.init_state(*players, optimizers))

    main = seconds(lambda state: step(state, batch, *frozen, setting)[0], fresh(), calls)
    if "penalty" not in steps.names(config):
        return gan.batch_size / main
    penalty = gan.map_penalty_step(config, networks, optimizers)
    lazy = seconds(lambda state: penalty(state, batch, *frozen)[0], fresh(), calls)
    return gan.batch_size / (main + lazy / gan.r1_every)


def encoder_rate(config: ml_collections.ConfigDict, calls: int) -> float:
    """Images per second of the encoder's own step."""
    section = config.encoder
    networks = make_networks(config)
    optimizer = encoder.make_optimizer(section)
    step = encoder.map_train_step(config, networks, optimizer)
    params, discriminator = init_gan_params(networks, config.seed)
    classifier = classifier.init_params(networks.classifier, config.data.image_size, 0)
    gan = {**params, "discriminator": discriminator}
    frozen = parallel.replicate((gan, classifier, SCALE, encoder.make_setting(config)))
    batch = parallel.shard(random_batch(section.batch_size, config.data.image_size))
    state = encoder.EncoderState(
        jnp.int32(0), params["encoder"], optimizer.init(params["encoder"])
    )
    once = lambda state: step(state, batch, *frozen)[0]
    return section.batch_size / seconds(once, parallel.replicate(state), calls)


MEASURES = {"classifier": classifier_rate, "gan": gan_rate, "encoder": encoder_rate}


def to_markdown(table: Mapping[str, Mapping]) -> str:
    """Images per second by config and devices."""
    lines = [f"| images/s | {' | '.join(MEASURES)} | peak memory of the process, GiB |"]
    lines.append("|---" * (len(MEASURES) + 2) + "|")
    for name, result in table.items():
        rates = result["images_per_second"]
        cells = (f"{rates[step]:,.0f}" if step in rates else "–" for step in MEASURES)
        lines.append(f"| {name} | {' | '.join(cells)} | {result['peak_memory_gib']:.1f} |")
    return "\n".join(lines) + "\n"


def main(argv: list[str]) -> None:
    """Measures and writes, beside the results of other configs and devices."""
    del argv
    config = flags.FLAGS.config
    rates = {
        name: measure(config, flags.FLAGS.calls)
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
    config_file = Path(flags.FLAGS["config"].config_filename).name
    name = f"{config_file}, {devices}"
    if flags.FLAGS.out:
        out = Path(flags.FLAGS.out)
        table = runs.read_results(out, "throughput") | {name: result}
        runs.write_results(out, "throughput", table, to_markdown(table))
    else:
        print(to_markdown({name: result}))


if __name__ == "__main__":
    config_flags.DEFINE_config_file("config", "configs/phantom.py", "The experiment.")
    flags.DEFINE_integer("calls", 15, "Timed calls of each step.")
    flags.DEFINE_string("out", "benchmarks/results", "Folder of the results; empty for none.")
    app.run(main)
