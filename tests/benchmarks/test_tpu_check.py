"""What the TPU check reads off a compiled program, and the steps that it compiles."""

import json
import math
import re

import jax
import pytest

from benchmarks import hlo, steps, tpu_check
from benchmarks.hlo import Collective
from cxr_jax.configs import base
from cxr_jax.errors import InputError
from experiments.command import parse
from experiments.results import measured_now, write

# ml_collections loads a config file in a way that Python deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")

DEVICES = 4
EXPLAINING = ("inversion", "walk")

PROGRAM = """
HloModule jit_step

%region_0.0 (a: f32[], b: f32[]) -> f32[] {
  ROOT %add = f32[] add(%a, %b)
}

%fused (p: f32[32,8]) -> f32[32,8] {
  ROOT %copy.9 = f32[32,8]{0,1:T(8,128)} copy(%p)
}

ENTRY %main.1_spmd (param.0: f32[128,64]) -> (f32[128,64], s32[]) {
  %param.0 = f32[128,64]{1,0:T(8,128)} parameter(0)
  %fusion = f32[16,5]{1,0:T(8,128)S(1)} fusion(%param.0), kind=kLoop, calls=%fused
  %both = (bf16[8,128]{1,0:T(8,128)(2,1)}, f32[3]{0:T(128)}) fusion(%fusion), kind=kLoop
  %psum = (f32[128,64]{0,1:T(8,128)}, f32[]) all-reduce(%fusion, %both), to_apply=%region_0.0
  %start = (f32[4], f32[16]) all-gather-start(%psum), dimensions={0}
  %done = f32[16]{0} all-gather-done(%start)
  %custom-call.4 = f32[8,128] custom-call(%done), custom_call_target="ConcatBitcast"
  ROOT %tuple = (f32[128,64], s32[]) tuple(%psum, %custom-call.4)
}
"""


def test_collectives_are_counted_with_their_bytes():
    assert hlo.collectives(PROGRAM) == {
        "all-reduce": Collective(count=1, bytes=(128 * 64 + 1) * 4),
        "all-gather": Collective(count=1, bytes=16 * 4),
    }


def test_padding_fills_the_fastest_axes_to_whole_tiles():
    (one,) = hlo.arrays_in("f32[16,5]{1,0:T(8,128)S(1)}")
    assert one.logical_bytes() == 16 * 5 * 4 and one.stored_bytes() == 16 * 128 * 4
    (turned,) = hlo.arrays_in("f32[16,5]{0,1:T(8,128)}")
    assert turned.stored_bytes() == 128 * 8 * 4
    (half,) = hlo.arrays_in("bf16[2,3,130]{2,1,0:T(8,128)(2,1)}")
    assert half.stored_bytes() == 2 * 8 * 256 * 2
    (scalar,) = hlo.arrays_in("s32[]")
    assert scalar.stored_bytes() == scalar.logical_bytes() == 4


def test_padding_is_that_of_what_the_entry_computation_writes():
    program = "\n".join(line for line in PROGRAM.splitlines() if "all-" not in line)
    program = "\n".join(line for line in program.splitlines() if "custom-call." not in line)
    logical = 16 * 5 * 4 + 8 * 128 * 2 + 3 * 4
    stored = 16 * 128 * 4 + 8 * 128 * 2 + 128 * 4
    assert hlo.padding(program) == pytest.approx(stored / logical)


def test_what_is_unknown_does_not_count_as_a_second_less():
    assert tpu_check.estimated_seconds({"optimal_seconds": -0.75}, PROGRAM) == 0.25
    assert tpu_check.estimated_seconds({"optimal_seconds": -3.75}, PROGRAM) is None


def test_every_byte_is_sent_twice_but_for_a_single_chip():
    found = {"all-reduce": Collective(count=2, bytes=10**9)}
    assert tpu_check.link_seconds(found, 1) == 0
    assert tpu_check.link_seconds(found, 8) == pytest.approx(2 * 7 / 8 * 1e9 / 200e9)


def shapes(tree) -> list[tuple]:
    return [(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(tree)]


@pytest.mark.parametrize("name", [name for name in steps.STEPS if name not in EXPLAINING])
def test_every_training_step_has_the_shapes_that_it_is_called_with(name, tiny_config):
    step = steps.STEPS[name](tiny_config, jax.local_devices())
    lowered = step.lower(DEVICES)
    (state, batch, *_), _ = lowered.in_avals
    assert batch["image"].shape == (DEVICES, step.images, 16, 16, 1)
    found, _ = lowered.out_info
    assert shapes(found) == shapes(state) == shapes(step.before[0])


def test_films_are_inverted_and_walked_by_the_programs_that_explaining_calls(tiny_config):
    """The inversion's films are the walk's; a bfloat16 network is explained in float32."""
    precise = tiny_config.copy_and_resolve_references()
    base.set_dtype(precise, "bfloat16")
    inversion, walk = (steps.STEPS[name](precise, jax.local_devices()) for name in EXPLAINING)
    lowered = inversion.lower(DEVICES), walk.lower(DEVICES)
    (_, (films, towards, _)), _ = lowered[1].in_avals
    assert shapes(lowered[0].out_info) == shapes(films)
    assert films.image.shape == (DEVICES, precise.explain.batch_size, 16, 16, 1)
    assert towards.shape == (DEVICES, precise.explain.batch_size)
    for text in (program.as_text() for program in lowered):
        assert "bf16" not in text
        products = re.findall(r"(?:dot_general|convolution)\(.*", text)
        assert products and all(each.count("HIGHEST") == 2 for each in products)


def test_gradients_are_what_goes_over_the_links(tiny_config):
    """One device's classifier against four: the parameters' bytes and the two averages'."""
    step = steps.STEPS["classifier"](tiny_config, jax.local_devices())
    text = step.lower(DEVICES).compile().as_text()
    (found,) = hlo.collectives(text).items()
    size = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(step.before[0].params))
    assert found[0] == "all-reduce" and found[1].bytes == 4 * (size + 2)


class Compiled:
    """Stands in for what the TPU's compiler returns."""

    def __init__(self, memory: int, loop: str):
        self.memory, self.loop = memory, loop

    def compile(self):
        return self

    def as_text(self) -> str:
        return PROGRAM + self.loop

    def cost_analysis(self) -> dict:
        return {"flops": 1e9, "bytes accessed": 1e8, "optimal_seconds": -0.999}

    def memory_analysis(self):
        sizes = dict.fromkeys(("output", "alias", "temp", "generated_code"), 0)
        sizes = {f"{name}_size_in_bytes": size for name, size in sizes.items()}
        return type("Memory", (), sizes | {"argument_size_in_bytes": self.memory})


@pytest.fixture
def check(monkeypatch, tmp_path, tiny_config):
    """Runs the check with a stand-in for the compiler: to (exit status, rows, compilations)."""

    def run(memory: int, effort: float = -0.5, loop: str = "") -> tuple[int, list[dict], list]:
        compiled = []

        def lower(step, chips):
            made = Compiled(memory, loop)
            made.compile = lambda: compiled.append(chips) or made
            return made

        monkeypatch.setattr(steps.Step, "lower", lower)
        monkeypatch.setattr(tpu_check, "chips_of", lambda chips: jax.local_devices())
        monkeypatch.setattr(tpu_check, "load_config", lambda name, overrides=(): tiny_config)
        monkeypatch.setattr(tpu_check, "CONFIGS", ("phantom",))
        monkeypatch.setattr(tpu_check, "compiler", lambda: "made up 1.0")
        monkeypatch.setattr(tpu_check, "use_absent_chips", lambda: None)
        flags = ["--steps=classifier", "--chips=1,8", f"--effort={effort}", f"--out={tmp_path}"]
        options, status = parse(tpu_check.STUDY, flags), 0
        try:
            for rows in tpu_check.run(options):
                write(tmp_path, tpu_check.STUDY, rows, measured_now("a command", None))
        except SystemExit as ended:
            status = ended.code
        stored = json.loads((tmp_path / "tpu_check.json").read_text())
        return status, stored["results"], compiled

    monkeypatch.setattr(tpu_check, "set_effort", lambda effort: None)
    return run


@pytest.mark.skipif(
    not hasattr(jax.config, tpu_check.EFFORT), reason="this JAX cannot set the effort"
)
def test_the_compiler_is_told_how_hard_to_try():
    before = getattr(jax.config, tpu_check.EFFORT)
    tpu_check.set_effort(-0.25)
    try:
        assert getattr(jax.config, tpu_check.EFFORT) == -0.25
    finally:
        tpu_check.set_effort(before)


def test_a_jax_that_cannot_be_told_says_so(monkeypatch):
    monkeypatch.setattr(tpu_check, "EFFORT", "jax_no_such_option")
    tpu_check.set_effort(0.0)
    with pytest.raises(InputError, match="jax<0.12"):
        tpu_check.set_effort(-0.5)


def test_the_results_are_marked_as_estimates_and_not_made_twice(check, tmp_path):
    status, rows, compiled = check(memory=10**9)
    assert status == 0 and compiled == [1, 8] and [row["chips"] for row in rows] == [1, 8]
    assert rows[1]["images_per_second"] == pytest.approx(8 * 32 / 0.001)
    text = (tmp_path / "tpu_check.md").read_text()
    assert "Compiler estimates" in text and "| phantom | classifier | 8 | 32 |" in text
    status, again, compiled = check(memory=10**9)
    assert status == 0 and again == rows and not compiled
    *_, compiled = check(memory=10**9, effort=0.0)
    assert compiled == [1, 8]


def test_a_step_with_a_loop_has_no_rate(check, tmp_path):
    _, rows, _ = check(memory=10**9, loop="stablehlo.while")
    assert [row["loops"] for row in rows] == [1, 1]
    (line, _) = [x for x in (tmp_path / "tpu_check.md").read_text().splitlines() if "| 32 |" in x]
    assert " 1.00 | – | " in line


def test_rows_stand_in_order_whatever_was_compiled_first():
    keys = [("mine", "gan", 1), ("covid", "walk", 8), ("covid", "gan", 256), ("covid", "gan", 8)]
    keys += [("phantom:full", "walk", 1)]
    found = tpu_check.in_order({key: {"key": key} for key in keys})
    assert [row["key"] for row in found] == [keys[i] for i in (4, 3, 2, 1, 0)]


def test_what_does_not_fit_fails(check):
    status, rows, _ = check(memory=17 * 10**9)
    assert status == 1 and not any(row["fits"] for row in rows)


@pytest.mark.parametrize(
    ("name", "taken"),
    {
        "phantom:full": list(steps.STEPS),
        "covid": [
            *("classifier", "judge", "gan", "penalty", "encoder", "segmenter"),
            *EXPLAINING,
        ],
        "paper": ["classifier", "judge", "gan", *EXPLAINING],
    }.items(),
)
def test_the_configs_of_the_check_exist_with_the_steps_that_they_take(name, taken):
    assert name in tpu_check.CONFIGS
    assert steps.names(tpu_check.load_config(name)) == taken
